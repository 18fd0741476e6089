#ifndef CWIC_MATH_H
#define CWIC_MATH_H
double sqrt(double x); /* one instruction */
#endif
