/* A lock and a condition, of POSIX or of Windows; nothing where there are no threads (CWIC_NO_THREADS, WebAssembly). */
#ifndef CWIC_THREADS_H
#define CWIC_THREADS_H

#if defined(CWIC_NO_THREADS) || defined(__wasm__)

/* One worker never waits: every band before its own is done. */
typedef struct {
    int unused;
} cwic_lock;
static inline int cwic_lock_init(cwic_lock *l) { return l->unused = 0, 1; }
static inline void cwic_lock_destroy(cwic_lock *l) { (void)l; }
static inline void cwic_lock_take(cwic_lock *l) { (void)l; }
static inline void cwic_lock_give(cwic_lock *l) { (void)l; }
static inline void cwic_lock_wait(cwic_lock *l) { (void)l; }
static inline void cwic_lock_wake(cwic_lock *l) { (void)l; }

#elif defined(_WIN32)

#include <windows.h>

typedef struct {
    SRWLOCK lock;
    CONDITION_VARIABLE changed;
} cwic_lock;
static inline int cwic_lock_init(cwic_lock *l)
{
    InitializeSRWLock(&l->lock);
    InitializeConditionVariable(&l->changed);
    return 1;
}
static inline void cwic_lock_destroy(cwic_lock *l) { (void)l; }
static inline void cwic_lock_take(cwic_lock *l) { AcquireSRWLockExclusive(&l->lock); }
static inline void cwic_lock_give(cwic_lock *l) { ReleaseSRWLockExclusive(&l->lock); }
static inline void cwic_lock_wait(cwic_lock *l) { SleepConditionVariableSRW(&l->changed, &l->lock, INFINITE, 0); }
static inline void cwic_lock_wake(cwic_lock *l) { WakeAllConditionVariable(&l->changed); }

#else

#include <pthread.h>

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
} cwic_lock;
/* Returns 0 if the system has no more of them. */
static inline int cwic_lock_init(cwic_lock *l)
{
    if (pthread_mutex_init(&l->lock, NULL))
        return 0;
    if (!pthread_cond_init(&l->changed, NULL))
        return 1;
    pthread_mutex_destroy(&l->lock);
    return 0;
}
static inline void cwic_lock_destroy(cwic_lock *l)
{
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
}
static inline void cwic_lock_take(cwic_lock *l) { pthread_mutex_lock(&l->lock); }
static inline void cwic_lock_give(cwic_lock *l) { pthread_mutex_unlock(&l->lock); }
/* Gives the lock, waits until another thread wakes, takes it again; may return without a reason. */
static inline void cwic_lock_wait(cwic_lock *l) { pthread_cond_wait(&l->changed, &l->lock); }
static inline void cwic_lock_wake(cwic_lock *l) { pthread_cond_broadcast(&l->changed); }

#endif

#endif
