/* Bilinear samples of a map at moved and weighted positions: the columns of a modulated deformable convolution.
 *
 * Zhu et al. 2019, "Deformable ConvNets v2" (arXiv:1811.11168). Positions outside the map count as 0. The function only
 * reads and writes the memory that it is given, so several threads can call it for different positions.
 */
#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* map: height x width x channels. steering: for each position 2 * kernel^2 offsets, pixels, dy before dx, and kernel^2
 * logits of the weights. columns: for each position from `first` on, kernel^2 x channels. */
FOR_EACH_PROCESSOR
void sample(const float *map, const float *steering, float *columns, long height, long width, long channels,
            long kernel, long first, long count)
{
    const long taps = kernel * kernel, half = kernel / 2;
    for (long position = first; position < first + count; position++) {
        const float *moved = steering + position * 3 * taps;
        const long row = position / width, column = position % width;
        for (long tap = 0; tap < taps; tap++) {
            float *restrict out = columns + ((position - first) * taps + tap) * channels;
            const float y = (float)(row - half + tap / kernel) + moved[2 * tap];
            const float x = (float)(column - half + tap % kernel) + moved[2 * tap + 1];
            if (!(y > -1.0f && x > -1.0f && y < (float)height && x < (float)width)) {
                memset(out, 0, channels * sizeof(float));
                continue;
            }
            const float weight = 2.0f / (1.0f + expf(-moved[2 * taps + tap]));
            const long top = (long)floorf(y), left = (long)floorf(x);
            const float below = y - (float)top, right = x - (float)left;
            const float above = top < 0 ? 0.0f : weight * (1.0f - below);
            const float under = top + 1 >= height ? 0.0f : weight * below;
            const float before = left < 0 ? 0.0f : 1.0f - right;
            const float after = left + 1 >= width ? 0.0f : right;
            const float *upper = map + (top < 0 ? 0 : top) * width * channels;
            const float *lower = map + (top + 1 >= height ? height - 1 : top + 1) * width * channels;
            const long near = (left < 0 ? 0 : left) * channels;
            const long far = (left + 1 >= width ? width - 1 : left + 1) * channels;
            const float a = above * before, b = above * after, c = under * before, d = under * after;
            for (long channel = 0; channel < channels; channel++)
                out[channel] = a * upper[near + channel] + b * upper[far + channel] + c * lower[near + channel]
                               + d * lower[far + channel];
        }
    }
}
