#include "perturb.h"

int64_t cwic_perturb_count, cwic_perturb_at = -1;
int32_t cwic_perturb_by = 1;
