/* What the decoder needs of a C library: memory that grows, and is given back to be used again. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 65536, ALIGNMENT = 16, MAX_PAGES = 65535 /* so that the end of memory fits 32 bits */ };

/* A free piece of memory; they are kept in the order of their addresses, and no two touch. */
typedef struct piece {
    size_t size; /* in bytes, this header included; of a piece in use as well */
    struct piece *next;
    size_t unused[2]; /* so that what follows is aligned */
} piece;

extern unsigned char __heap_base;
static piece *first;
static uintptr_t end;   /* of the memory that is ours; 0 before the first call */
static uintptr_t clean; /* from there on memory was never handed out, and is zero */

/* The piece behind becomes part of p. Its header becomes zeros, as all around it may be, and be relied upon. */
static void join(piece *p)
{
    piece *behind = p->next;
    p->size += behind->size;
    p->next = behind->next;
    behind->size = 0;
    behind->next = NULL;
}

static int touch(const piece *p) { return p->next && (uintptr_t)p + p->size == (uintptr_t)p->next; }

static void give(piece *p)
{
    piece **at = &first, *before = NULL;
    while (*at && *at < p) {
        before = *at;
        at = &before->next;
    }
    p->next = *at;
    *at = p;
    if (touch(p))
        join(p);
    if (before && touch(before))
        join(before);
}

/* Makes memory larger by so many bytes or more. */
static int grow(size_t size)
{
    const size_t pages = (size + PAGE - 1) / PAGE, now = __builtin_wasm_memory_size(0);
    uintptr_t begin = end;
    if (pages > MAX_PAGES - now || __builtin_wasm_memory_grow(0, pages) == (size_t)-1)
        return 0;
    if (!end)
        begin = clean = ((uintptr_t)&__heap_base + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    end = (now + pages) * PAGE;
    ((piece *)begin)->size = end - begin;
    give((piece *)begin);
    return 1;
}

void *malloc(size_t size)
{
    piece **at, *p;
    int tries;
    if (size > PTRDIFF_MAX - sizeof(piece) - PAGE)
        return NULL;
    size = sizeof(piece) + (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    for (tries = 0; tries < 2; tries++) {
        for (at = &first; (p = *at); at = &p->next) {
            if (p->size < size)
                continue;
            if (p->size - size >= 2 * sizeof(piece)) {
                piece *rest = (piece *)((uintptr_t)p + size);
                rest->size = p->size - size;
                rest->next = p->next;
                p->size = size;
                *at = rest;
                if (clean < (uintptr_t)rest + sizeof(piece))
                    clean = (uintptr_t)rest + sizeof(piece);
            } else {
                *at = p->next;
                if (clean < (uintptr_t)p + p->size)
                    clean = (uintptr_t)p + p->size;
            }
            return p + 1;
        }
        if (!grow(size))
            break;
    }
    return NULL;
}

void free(void *block)
{
    if (block)
        give((piece *)block - 1);
}

void *calloc(size_t count, size_t size)
{
    const uintptr_t before = clean;
    size_t all;
    unsigned char *block;
    if (__builtin_mul_overflow(count, size, &all) || !(block = malloc(all)))
        return NULL;
    /* What was clean before still is, but for the header of the piece behind, which lies behind it. */
    if (!before || (uintptr_t)block < before)
        memset(block, 0, before && before - (uintptr_t)block < all ? before - (uintptr_t)block : all);
    return block;
}

/* One instruction each, with -mbulk-memory. */
void *memcpy(void *to, const void *from, size_t size) { return __builtin_memcpy(to, from, size); }
void *memset(void *to, int value, size_t size) { return __builtin_memset(to, value, size); }

int memcmp(const void *a, const void *b, size_t size)
{
    const unsigned char *x = a, *y = b;
    for (; size; size--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}
