//! The kernels' source, as it was built in: for readers (`shadegrad kernels`).

/// One file of `shaders/`.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The file's name without its ending.
    pub name: &'static str,
    /// The whole text.
    pub text: &'static str,
}

macro_rules! sources {
    ($($name:literal)+) => {
        /// Every file, by name.
        pub const SOURCES: &[Source] =
            &[$(Source { name: $name, text: include_str!(concat!("../../shaders/", $name, ".wgsl")) }),+];
    };
}

sources! {
    "activation" "avg_pool" "batch_norm" "ceiling" "check_finite" "conv2d" "conv2d_coop" "conv2d_gemm" "conv2d_lanes"
    "conv2d_naive" "conv2d_pack" "conv2d_read" "conv2d_read_normalized" "conv2d_read_unpooled" "conv2d_store"
    "conv2d_store_pooled" "conv2d_store_step" "conv2d_subgroup" "conv2d_taps" "conv2d_weights"
    "conv2d_weights_coop" "conv2d_weights_gemm" "conv2d_weights_lines" "conv2d_weights_subgroup" "conv2d_winograd" "coop16"
    "coop8" "coop_scale" "cross_entropy" "displace" "dropout" "elementwise" "fill" "gather" "kl_divergence" "margin" "matmul" "matmul_blocked" "matmul_coop"
    "matmul_nn" "matmul_nt" "matmul_nt_subgroup" "matmul_shared" "matmul_split_k" "matmul_subgroup" "matmul_tiled"
    "max_of_four" "max_pool" "max_pool_pairs" "mse" "noise" "normalize" "optimizer" "pack_winners" "peak" "perturb" "random" "reduce"
    "scalar" "select" "side_by_side" "sign_step" "stored" "table_storage" "table_uniform" "tree" "vec2" "vec4" "wide" "winograd_1" "winograd_2"
}

impl Source {
    /// What the file says of itself: its first comment up to the end of a sentence, or to a blank line, as one line.
    pub fn summary(&self) -> String {
        let comment = self.text.lines().map_while(|line| line.strip_prefix("//")).map(str::trim);
        let mut words = Vec::new();
        for line in comment.take_while(|line| !line.is_empty()) {
            words.push(line);
            if line.ends_with('.') {
                break;
            }
        }
        words.join(" ")
    }

    /// The names of its entry points.
    pub fn entries(&self) -> Vec<&'static str> {
        let parts = self.text.split("@compute").skip(1);
        parts.filter_map(|part| part.split("fn ").nth(1)?.split('(').next()).collect()
    }
}

/// The file of this name, with or without its ending; or the names that are most like it.
pub fn find(name: &str) -> Result<Source, Vec<&'static str>> {
    let wanted = name.trim_end_matches(".wgsl");
    if let Some(found) = SOURCES.iter().find(|source| source.name == wanted) {
        return Ok(*found);
    }
    // Files that other kernels are made of come last.
    let mut near: Vec<(usize, bool, &str)> = SOURCES
        .iter()
        .map(|source| {
            let is_part = wanted.len() > 2 && (source.name.contains(wanted) || source.entries().contains(&wanted));
            let far = if is_part { 0 } else { distance(wanted, source.name) };
            (far, source.entries().is_empty(), source.name)
        })
        .collect();
    near.sort();
    Err(near.into_iter().filter(|(far, _, name)| *far <= name.len() / 2).map(|(.., name)| name).take(3).collect())
}

/// How many letters must be put in, left out or changed to make one word of the other (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{SOURCES, find};

    #[test]
    fn every_file_is_built_in_and_says_what_it_is() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".wgsl").map(str::to_owned))
            .collect();
        files.sort();
        assert_eq!(files, SOURCES.iter().map(|source| source.name.to_owned()).collect::<Vec<_>>());
        for source in SOURCES {
            assert!(source.summary().len() > 20, "{} says nothing of itself", source.name);
        }
    }

    /// `a && b` is a branch in what naga makes of it, `(a) & (b)` is not (`shaders/NOTES.md`, 2026-11-29).
    #[test]
    fn conditions_cost_no_branches() {
        for source in SOURCES {
            for line in source.text.lines() {
                let code = line.split("//").next().unwrap();
                assert!(!code.contains("&&") && !code.contains("||"), "{}: {line}", source.name);
            }
        }
    }

    /// Or else Direct3D's compiler may meet two functions of one name in what naga makes of it (`shaders/NOTES.md`, 2026-11-29).
    #[test]
    fn arrays_of_values_stand_outside_of_loops() {
        for line in SOURCES.iter().flat_map(|source| source.text.lines()) {
            assert!(!line.contains(": array<Value, ") || line.starts_with("    var "), "{line}");
        }
    }

    #[test]
    fn names_are_found_and_near_misses_hinted_at() {
        assert_eq!(find("matmul.wgsl").unwrap().entries(), ["matmul"]);
        assert_eq!(find("max_pool").unwrap().entries(), ["forward", "backward", "backward_tiles"]);
        assert_eq!(find("matmull").unwrap_err()[0], "matmul");
        assert_eq!(find("pool").unwrap_err(), ["avg_pool", "max_pool", "max_pool_pairs"]);
        assert!(find("zzzzzzzzzzz").unwrap_err().is_empty());
    }
}
