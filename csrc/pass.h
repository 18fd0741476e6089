/* A transform on its way over one picture: what its entrance and exit (ends.c) and its blocks and bands (pass.c) share. */
#ifndef CWIC_PASS_H
#define CWIC_PASS_H

#include "threads.h"
#include "transform.h"

enum { CHUNK = 96, KNOWN_CODES = 16 };

/* What one worker needs for itself: a chunk of up to CHUNK positions between two steps. */
typedef struct {
    int32_t busy;
    int16_t *inputs; /* [CHUNK][wide + inputs]: of the exit; of entrance, mixture and fine blocks as well */
    int32_t *sums;   /* [CHUNK][what the widest affine map gives] */
    int16_t *latents; /* [CHUNK][channels] */
    int8_t *operand, *wide; /* [CHUNK][wide] and [CHUNK][2 wide] */
} scratch;

struct cwic_pass {
    const cwic_transform *t;
    int32_t rate, rows, columns, height, width; /* rows and columns of positions */
    int32_t band_rows, bands, stages;
    const uint8_t *samples;
    const int16_t *codes;
    int32_t posts; /* whether there is a post-filter */
    int8_t post[CWIC_POST];
    uint8_t *pixels;
    int16_t *latents, *levels;

    int32_t *gain, *norm_rate;    /* at T, [channels] */
    int16_t *known;               /* latents of codes from -KNOWN_CODES on: [channels][2 KNOWN_CODES] */
    int16_t *multiplier, *offset; /* at T, [wide] */
    int32_t *zeros;               /* [192]: where sums of the mixture start */

    int32_t stream_rows; /* row y of what follows lies in place y modulo stream_rows */
    int16_t *stream;     /* x: [stream_rows][columns][wide] */
    int16_t *kept;       /* y of a synthesis, for its exit: [stream_rows][columns][channels] */
    int32_t active_rows, head_rows;
    int8_t *active;      /* h: [blocks][active_rows][columns + 2][wide], with zeros at either side; without fine blocks */
    int16_t *fine;       /* the same of fine blocks */
    int16_t *no_row;     /* h above and below the picture: [columns + 2][wide] zeros */
    int16_t *head_in;    /* p: [head_rows][columns + 2][wide], likewise, and behind it a row of zeros */
    int32_t head_next;   /* next row of levels */

    cwic_lock lock; /* guards what follows */
    int32_t locked; /* whether it was made */
    int32_t next_band, cancelled;
    int32_t *done; /* [stages]: bands that a stage has finished */
    int32_t workers;
    scratch *scratches; /* [workers] */
};

/* ---- rows and their places --------------------------------------------------------------------------------- */

static inline int16_t *stream_row(const cwic_pass *p, int32_t y)
{
    return p->stream + (size_t)(y % p->stream_rows) * p->columns * p->t->shape.wide;
}

static inline int16_t *kept_row(const cwic_pass *p, int32_t y)
{
    return p->kept + (size_t)(y % p->stream_rows) * p->columns * p->t->shape.channels;
}

/* h of block b in row y, at the position before the first. */
static inline int8_t *active_row(const cwic_pass *p, int32_t b, int32_t y)
{
    const size_t line = ((size_t)p->columns + 2) * p->t->shape.wide;
    if (y < 0 || y >= p->rows)
        return (int8_t *)p->no_row;
    return p->active + ((size_t)(b - p->t->shape.fine) * p->active_rows + y % p->active_rows) * line;
}

/* The same of a fine block. */
static inline int16_t *fine_row(const cwic_pass *p, int32_t b, int32_t y)
{
    const size_t line = ((size_t)p->columns + 2) * p->t->shape.wide;
    if (y < 0 || y >= p->rows)
        return p->no_row;
    return p->fine + ((size_t)b * p->active_rows + y % p->active_rows) * line;
}

/* p in row y, at the position before the first; zeros outside the picture. */
static inline int16_t *head_row(const cwic_pass *p, int32_t y)
{
    const size_t place = (size_t)(y < 0 || y >= p->rows ? p->head_rows : y % p->head_rows);
    return p->head_in + place * ((size_t)p->columns + 2) * p->t->shape.wide;
}

static inline void affine(const cwic_pass *p, const cwic_affine *a, const int16_t *inputs, size_t step,
                          const int32_t *bias, int32_t *sums, int32_t count)
{
    static const int32_t origin[1] = {0};
    p->t->dense(a, inputs, origin, step, bias, 0, sums, count);
}

/* ---- entrance and exit, ends.c -------------------------------------------------------------------------------- */

/* The latent of a code, with a gain of up to 2^31. */
int16_t cwic_latent(int32_t code, int32_t gain);
/* The stream of row y, and with it what the exit wants to know of the inputs. */
void cwic_enter(const cwic_pass *p, scratch *w, int32_t y);
/* Row y of the result, of its stream, and the rows of levels that are then known. */
void cwic_leave(cwic_pass *p, scratch *w, int32_t y);

#endif
