#!/usr/bin/env python3
"""Breaks the program by hand, one thing at a time, and looks whether the tests notice.

    kernels-tests/mutations.py [--target DIR] [--only N]

Works on a copy of the committed tree, so the checkout stays as it is. For each mutation the copy must still compile,
and the named test files must fail for another reason than a kernel that the driver rejects. Exit status 1 if a mutation
is not noticed. Each takes a build: about half a minute on two idle cores.
"""
import argparse
import os
import subprocess
import sys
import tempfile

# What is broken, the file, the text that must be there exactly once, what takes its place, and who should notice.
MUTATIONS = [
    ("wrong pad: backward-data reads x one column off", "shaders/conv2d_subgroup.wgsl",
     "pad_x = i32(KW) - 1 - i32(", "pad_x = i32(KW) - i32(", ["conv2d"]),
    ("off by one: a window's column right of the picture is the picture's last instead of zero",
     "shaders/conv2d_lanes.wgsl", "(u32(ix) < p.in_w);", "(u32(ix) <= p.in_w);", ["conv2d"]),
    ("swapped values: of four of a line of x that are read at once, each pair", "shaders/vec4.wgsl",
     "return value[j];", "return value[j ^ 1u];", ["conv2d"]),
    ("swapped values: of two of a line of x that are read at once", "shaders/vec2.wgsl",
     "return value[j];", "return value[j ^ 1u];", ["conv2d"]),
    ("wrong sign: Winograd's matrix of x has an odd part with a plus", "shaders/winograd_1.wgsl",
     "let odd_a = 0.75 * d[3] - 1.6875 * d[1];", "let odd_a = 0.75 * d[3] + 1.6875 * d[1];", ["conv2d"]),
    ("wrong shift: Winograd's backward-data at stride 2 and an even padding begins a row of dy late",
     "src/ops/conv2d_winograd.rs", "padding / 2 - 1 } else", "padding / 2 } else", ["conv2d"]),
    ("wrong edge: ReLU's gradient, taken as Winograd's backward-data stores, lets zeros through", "shaders/conv2d_winograd.wgsl",
     "gate[to] <= Value()", "gate[to] < Value()", ["gate"]),
    ("missing launch: a gradient of which the last part was taken through its ReLU counts as all of it", "src/autograd/tape.rs",
     "before && passed", "passed", ["gate"]),
    ("swapped columns: of a block that is a whole row, each column of x meets its right neighbour's taps",
     "shaders/conv2d_subgroup.wgsl", "w[kx] * line[r * SPAN + s];", "w[kx] * line[r * SPAN + select(s, (s + 1u) % SPAN, BESIDE > 0u)];", ["conv2d"]),
    ("missing tap: of a line of x, each value leaves out the last tap of the first sum that it meets", "shaders/conv2d_subgroup.wgsl",
     "kx < min(s + BESIDE + 1u, KW)", "kx < min(s + BESIDE, KW)", ["conv2d"]),
    ("swapped weights: of four in a uniform buffer, each pair", "shaders/table_uniform.wgsl",
     "[i % 4u]", "[(i % 4u) ^ 1u]", ["conv2d"]),
    ("wrong bound: weights that fill a uniform buffer to its last byte do not fit", "src/ops/mod.rs",
     "4 * table.count() as u64 <= gpu.uniform_limit()", "(4 * table.count() as u64) < gpu.uniform_limit()", ["conv2d"]),
    ("missing word: of a line of more than eight windows, the first word of winners serves all", "shaders/conv2d_read_unpooled.wgsl",
     "word(row, (across >> 3u) + i32(k), is_row)", "word(row, across >> 3u, is_row)", ["conv2d_max_pool"]),
    ("missing part: pictures of the second buffer are read from the first", "shaders/gather.wgsl",
     "if (PARTS == 1u) |", "if (PARTS >= 1u) |", ["gather"]),
    ("missing normalisation: attacks along signs take pixels for normalised ones", "src/attack/mod.rs",
     "network.normalized(&tape, tape.leaf(step.x))?);", "tape.leaf(step.x));", ["attack"]),
    ("wrong row: of a pooled gradient, both lines of a row of windows are the upper", "shaders/conv2d_read_unpooled.wgsl",
     "(2u * u32(iy & 1))", "(2u * u32(iy & 0))", ["conv2d_max_pool"]),
    ("wrong shift: of winners packed by eight, what the next word adds comes a window late", "shaders/conv2d_read_unpooled.wgsl",
     "<< (31u - shift)", "<< (27u - shift)", ["conv2d_max_pool"]),
    ("missing offset: pixels that are normalised as a convolution reads them", "shaders/conv2d_read_normalized.wgsl",
     "* times + plus", "* times", ["conv2d_max_pool"]),
    ("missing term: a step is taken along one of two gradients of the same pixels", "src/autograd/tape.rs",
     "input == step.index).count() == 1", "input == step.index).count() > 0", ["conv2d_max_pool"]),
    ("wrong gradient: of a wanted output of a ReLU, that of what went into the ReLU", "src/autograd/tape.rs",
     "nodes[input].relu && !is_wanted[input]", "nodes[input].relu", ["gate"]),
    ("swapped words: of two values read as one word, the second comes first", "shaders/wide.wgsl",
     "vec2(u32(stored), u32(stored >> 32u))", "vec2(u32(stored >> 32u), u32(stored))", ["conv2d"]),
    ("memory: buffers that lie unused are never given back", "src/gpu/pool.rs",
     "while self.stats.held + class > most {", "while self.stats.held + class > most && most == 0 {", ["memory"]),
    ("wrong winner: of two windows pooled at once, a pixel below counts as its neighbour", "shaders/max_of_four.wgsl",
     "larger(best, c, first + width);", "larger(best, c, first + width + 1u);", ["pool"]),
    ("wrong window: of two that a convolution pools as it stores, the second is the first", "shaders/conv2d_store_pooled.wgsl",
     "const second = EACH - 2u;", "const second = 0u;", ["conv2d_max_pool"]),
    ("wrong plane: windows cut short count among those that have a gradient", "shaders/side_by_side.wgsl",
     "(row - plane * (DOWN - OUT_H))", "row", ["pool"]),
    ("swapped phases: of a stride of two, rows are computed by the column's phase", "shaders/conv2d_taps.wgsl",
     "let py = p.first_py + group.z / channel_blocks / p.phases_x;",
     "let py = p.first_py + group.z / channel_blocks % p.phases_x;", ["conv2d"]),
    ("dropped term: the weight gradient leaves out each picture's last row", "shaders/conv2d_weights_subgroup.wgsl",
     "for (var oy = 0u; oy < p.out_h; oy++)", "for (var oy = 0u; oy + 1u < p.out_h; oy++)", ["conv2d"]),
    ("off by one in the last tile: the product's last row is not stored", "shaders/matmul_nn.wgsl",
     "let rows = min(p.m - row0, p.rows);", "let rows = min(p.m - row0 - 1u, p.rows);", ["matmul"]),
    ("swapped stride: pooling steps by its kernel's extent", "shaders/max_pool.wgsl",
     "let iy = oy * S + ky - p.padding;", "let iy = oy * K + ky - p.padding;", ["pool"]),
    ("missing mean: cross-entropy's gradient is not divided by the batch", "shaders/cross_entropy.wgsl",
     "g = dloss[0] / f32(p.rows);", "g = dloss[0];", ["cross_entropy"]),
    ("wrong start: of a summed cross-entropy, each row counts twice", "shaders/cross_entropy.wgsl",
     "var g = 1.0;", "var g = 2.0;", ["cross_entropy"]),
    ("dropped gradient: a walk that is given one begins with ones", "src/autograd/tape.rs",
     "gradient.shape(), shape)?;\n                gradient\n", "gradient.shape(), shape)?;\n                self.gpu.filled(shape, 1.0)?\n",
     ["autograd"]),
    ("dropped term: batch-norm's gradient without the share of the variance", "shaders/batch_norm.wgsl",
     "(along_one + xhat * along_x)", "along_one", ["batch_norm"]),
    ("wrong power: Adam's second moment of g instead of its square", "shaders/optimizer.wgsl",
     "p.rest2 * g * g;", "p.rest2 * abs(g);", ["optimizer"]),
    ("flipped sign: a mirrored picture is the plain one, and the other way round", "shaders/gather.wgsl",
     "(words.x & 1u) == 1u", "(words.x & 1u) == 0u", ["gather"]),
    ("one round fewer: Philox with nine", "shaders/random.wgsl", "round < 10u", "round < 9u", ["random"]),
    ("autograd: a value used twice keeps only the gradient that came last", "src/autograd/tape.rs",
     "(Some(present), None) => elementwise::add(&self.gpu, &present, &arriving),",
     "(Some(_), None) => Ok(arriving),", ["autograd"]),
    ("autograd: both gradients of a parameter used twice in one operation go straight to its slot",
     "src/autograd/tape.rs", "gradients[input].is_none() && !repeated", "gradients[input].is_none() || repeated",
     ["autograd"]),
    ("files: a damaged state is resumed from", "src/lab/train/state.rs", "if intact == Some(false) {",
     "if intact.is_some_and(|_| false) {", ["resume"]),
    ("metrics: ties count as won", "src/ood/metrics.rs", "twice_u += id * (2 * ood_below + ood);",
     "twice_u += id * (2 * ood_below + 2 * ood);", ["metrics"]),
    ("attack: a targeted attack moves away from its target", "src/attack/batch.rs",
     "if target == Target::Untargeted { 1.0 } else { -1.0 }", "if target == Target::Untargeted { 1.0 } else { 1.0 }",
     ["attack"]),
    ("attack: PGD is not brought back into the ball", "shaders/sign_step.wgsl",
     "if PROJECT == 1u { to = clamp", "if PROJECT == 2u { to = clamp", ["perturb"]),
]


def run(command, folder, target):
    environment = dict(os.environ, CARGO_TARGET_DIR=target)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", help="folder for what is built (default: a new one; a full build takes minutes)")
    parser.add_argument("--only", type=int, help="only the mutation of this number")
    options = parser.parse_args()
    root = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True,
                          cwd=os.path.dirname(os.path.abspath(__file__))).stdout.strip()
    if options.target and os.path.realpath(options.target).startswith(os.path.realpath(root) + os.sep):
        sys.exit("error: --target lies in the checkout, where a broken program would be left for the next who runs it")
    missed = 0
    with tempfile.TemporaryDirectory() as scratch:
        copy = os.path.join(scratch, "copy")
        subprocess.run(["git", "clone", "--quiet", root, copy], check=True)
        target = options.target or os.path.join(scratch, "target")
        for number, (what, name, old, new, tests) in enumerate(MUTATIONS, 1):
            if options.only and number != options.only:
                continue
            path = os.path.join(copy, name)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            if text.count(old) != 1:
                sys.exit(f"error: {name} holds '{old}' {text.count(old)} times, not once: bring the list up to date")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text.replace(old, new))
            chosen = [word for test in tests for word in ("--test", test)]
            built, said = run(["cargo", "test", "--release", "--locked", "--no-run", *chosen], copy, target)
            if built != 0:
                sys.exit(f"error: mutation {number} ({what}) does not compile:\n{said[-2000:]}")
            code, said = run(["cargo", "test", "--release", "--locked", *chosen], copy, target)
            if "was rejected by the driver" in said:
                sys.exit(f"error: mutation {number} ({what}) is no kernel any more:\n{said[-2000:]}")
            failed = sorted({line.split()[1] for line in said.splitlines()
                             if line.startswith("test ") and line.endswith("FAILED")})
            noticed = code != 0 and failed
            missed += not noticed
            print(f"{number:2} {'noticed' if noticed else 'MISSED '} {what} ({name}): "
                  f"{', '.join(failed[:3])}{f' and {len(failed) - 3} more' if len(failed) > 3 else ''}", flush=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    print(f"{missed} missed" if missed else "all noticed")
    sys.exit(missed != 0)


if __name__ == "__main__":
    main()
