// As much of Metal's library as the kernels of core/qwen_core/model/kernels use, so that g++ compiles them for a CPU:
// threadgroups one after the other, each thread in a fibre, simdgroups of 32 that meet at simd_sum, all at a barrier.
// Every access is checked: within its array, and each element of an output written once.
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

typedef unsigned int uint;
struct uint3 {
    uint x, y, z;
};

// Stored as 16 bits, computed as float, rounded to the nearest even number as a GPU rounds.
struct bfloat16_t {
    uint16_t bits;
    bfloat16_t() = default;
    bfloat16_t(float value) {
        uint32_t u;
        memcpy(&u, &value, 4);
        bits = std::isnan(value) ? 0x7FC0 : uint16_t((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
    }
    operator float() const {
        uint32_t u = uint32_t(bits) << 16;
        float value;
        memcpy(&value, &u, 4);
        return value;
    }
};

namespace shim {
enum Wait { none, sum, barrier };
struct Fibre {
    ucontext_t context;
    jmp_buf place;
    std::vector<char> stack;
    bool done;
    Wait wait;
    float value;
    uint3 grid;
    uint lane, simdgroup;
};
static std::vector<Fibre> fibres;
static Fibre* current;
static jmp_buf home;
static std::function<void()>* body;
static char fault[200];

static void fail(const char* what, const char* name, long index) {
    if (!fault[0]) snprintf(fault, sizeof fault, "%s %s[%ld]", what, name, index);
}

// Back to where the fibre was resumed. Jumps in place of swapcontext: that calls the kernel each time.
static void pause() {
    if (!_setjmp(current->place)) _longjmp(home, 1);
}

static float wait_for(Wait what, float value) {
    current->wait = what;
    current->value = value;
    pause();
    return current->value;
}

// A fibre lives for many threads, one after the other.
static void live() {
    for (;;) {
        (*body)();
        current->done = true;
        pause();
    }
}

static void resume(Fibre& fibre) {
    current = &fibre;
    if (_setjmp(home)) return;
    if (!fibre.stack.empty()) _longjmp(fibre.place, 1);
    fibre.stack.resize(1 << 15);
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack.data(), fibre.context.uc_stack.ss_size = fibre.stack.size();
    makecontext(&fibre.context, live, 0);
    setcontext(&fibre.context);
}

// What simd_sum gives: partial sums of lanes whose numbers differ in one bit, then in the next.
static void meet(Fibre* lanes, int count) {
    int waiting = 0;
    for (int i = 0; i < count; i++) waiting += !lanes[i].done && lanes[i].wait == sum;
    if (waiting == 0) return;
    if (waiting < 32) return fail("some lanes alone wait at", "simd_sum", waiting);
    float values[32], next[32];
    for (int i = 0; i < 32; i++) values[i] = lanes[i].value;
    for (int bit = 1; bit < 32; bit *= 2) {
        for (int i = 0; i < 32; i++) next[i] = values[i] + values[i ^ bit];
        memcpy(values, next, sizeof values);
    }
    for (int i = 0; i < 32; i++) lanes[i].value = values[i], lanes[i].wait = none;
}

static void run_group(uint3 first, const uint* size, const uint* grid) {
    const int count = size[0] * size[1] * size[2];
    if ((int)fibres.size() < count) fibres.resize(count);
    for (int i = 0; i < count; i++) {
        Fibre& f = fibres[i];
        f.grid = {first.x + i % size[0], first.y + i / size[0] % size[1], first.z + i / (size[0] * size[1])};
        f.done = f.grid.x >= grid[0] || f.grid.y >= grid[1] || f.grid.z >= grid[2];
        f.wait = none, f.lane = i % 32, f.simdgroup = i / 32;
    }
    for (bool moved = true; moved && !fault[0];) {
        moved = false;
        int open = 0, at_barrier = 0;
        for (int i = 0; i < count; i++) {
            if (fibres[i].done || fibres[i].wait != none) continue;
            moved = true;
            resume(fibres[i]);
        }
        for (int i = 0; i < count; i += 32) meet(&fibres[i], count - i < 32 ? count - i : 32);
        for (int i = 0; i < count; i++) open += !fibres[i].done, at_barrier += !fibres[i].done && fibres[i].wait == barrier;
        if (open && open == at_barrier)
            for (int i = 0; i < count; i++) fibres[i].wait = none;
        if (open && !moved) fail("threads wait for ever at", "a barrier", at_barrier);
    }
}

static void dispatch(const uint* grid, const uint* group, std::function<void()> f) {
    body = &f;
    for (uint z = 0; z < grid[2]; z += group[2])
        for (uint y = 0; y < grid[1]; y += group[1])
            for (uint x = 0; x < grid[0]; x += group[0])
                if (!fault[0]) run_group({x, y, z}, group, grid);
    if (fault[0]) fibres.clear();  // some are in the middle of their threads
}

template <typename T>
struct Input {
    const T* data;
    long size;
    const char* name;
    const T& operator[](long i) const {
        if (i >= 0 && i < size) return data[i];
        fail("read beside", name, i);
        return data[0];
    }
};

template <typename T>
struct Output {
    T* data;
    long size;
    const char* name;
    mutable std::vector<char> written;
    Output(void* data, long size, const char* name) : data((T*)data), size(size), name(name), written(size) {}
    T& operator[](long i) const {
        if (i < 0 || i >= size) return fail("written beside", name, i), data[0];
        if (written[i]++) fail("written twice", name, i);
        return data[i];
    }
    ~Output() {
        for (long i = 0; i < size; i++)
            if (!written[i]) fail("never written", name, i);
    }
};
}  // namespace shim

namespace metal {
using std::abs;
using std::exp;
using std::log;
inline float max(float a, float b) { return a > b ? a : b; }
namespace precise {
using std::cos;
using std::sin;
inline float rsqrt(float x) { return 1.0f / std::sqrt(x); }
}  // namespace precise
}  // namespace metal
enum class mem_flags { mem_threadgroup };
static float simd_sum(float value) { return shim::wait_for(shim::sum, value); }
static void threadgroup_barrier(mem_flags) { shim::wait_for(shim::barrier, 0.0f); }

#define threadgroup static
#define thread_position_in_grid (shim::current->grid)
#define thread_index_in_simdgroup (shim::current->lane)
#define simdgroup_index_in_threadgroup (shim::current->simdgroup)
