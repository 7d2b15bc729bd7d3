//! Weights files and initial weights: PyTorch's names, layouts and distributions; bad files change nothing.

mod common;
#[path = "common/folder.rs"]
mod folder;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use common::gpu;
use folder::TempFolder;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use shadegrad::models::{self, NAMES, architecture};
use shadegrad::nn::{Architecture, Layer, NamedArray, Network, StateDict, Task};

/// A stored tensor: its name, type, shape and bytes.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

fn network(model: &str, seed: u64) -> Network {
    Network::new(&gpu(), architecture(model).unwrap(), seed).unwrap()
}

/// The models of layers with weight and bias alone, as [`pytorch`] has them; `fast` has a test of its own.
fn plain() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().filter(|model| *model != "fast")
}

fn state(network: &Network) -> Vec<NamedArray> {
    network.state(&gpu()).unwrap()
}

/// The state_dict that PyTorch has for a model: names in order, and shapes.
fn pytorch(model: &str) -> Vec<(&'static str, Vec<usize>)> {
    let weights: &[(&str, &[usize])] = match model {
        "lenet" => &[
            ("conv1", &[6, 3, 5, 5]),
            ("conv2", &[16, 6, 5, 5]),
            ("fc1", &[120, 400]),
            ("fc2", &[84, 120]),
            ("fc3", &[10, 84]),
        ],
        "lab" => &[
            ("conv1", &[32, 3, 3, 3]),
            ("conv2", &[64, 32, 3, 3]),
            ("conv3", &[128, 64, 3, 3]),
            ("conv4", &[128, 128, 3, 3]),
            ("conv5", &[256, 128, 3, 3]),
            ("fc1", &[256, 16_384]),
            ("fc2", &[128, 256]),
            ("fc3", &[10, 128]),
        ],
        // ConvTranspose2d has [in, out, kH, kW].
        "ae3" | "ae3-lab" => &[
            ("encoder.0", &[12, 3, 4, 4]),
            ("encoder.2", &[24, 12, 4, 4]),
            ("encoder.4", &[48, 24, 4, 4]),
            ("decoder.0", &[48, 24, 4, 4]),
            ("decoder.2", &[24, 12, 4, 4]),
            ("decoder.4", &[12, 3, 4, 4]),
        ],
        "ae4" | "ae4-lab" => &[
            ("encoder.0", &[12, 3, 4, 4]),
            ("encoder.2", &[24, 12, 4, 4]),
            ("encoder.4", &[48, 24, 4, 4]),
            ("encoder.6", &[96, 48, 4, 4]),
            ("decoder.0", &[96, 48, 4, 4]),
            ("decoder.2", &[48, 24, 4, 4]),
            ("decoder.4", &[24, 12, 4, 4]),
            ("decoder.6", &[12, 3, 4, 4]),
        ],
        _ => panic!("no table for {model}"),
    };
    weights.iter().map(|(name, shape)| (*name, shape.to_vec())).collect()
}

/// Outputs of a layer, and what PyTorch takes for its fan-in: the weight's second dimension times the window.
fn outputs_and_fan_in(name: &str, shape: &[usize]) -> (usize, usize) {
    let outputs = if name.starts_with("decoder") { shape[1] } else { shape[0] };
    (outputs, shape[1..].iter().product())
}

#[test]
fn names_and_layouts_are_pytorchs() {
    for model in plain() {
        let found: Vec<(String, Vec<usize>)> =
            state(&network(model, 0)).into_iter().map(|(name, shape, _)| (name, shape)).collect();
        let wanted: Vec<(String, Vec<usize>)> = pytorch(model)
            .into_iter()
            .flat_map(|(name, shape)| {
                let (outputs, _) = outputs_and_fan_in(name, &shape);
                [(format!("{name}.weight"), shape), (format!("{name}.bias"), vec![outputs])]
            })
            .collect();
        assert_eq!(found, wanted, "{model}");
    }
}

#[test]
fn fast_has_what_a_module_of_pytorchs_has() {
    let network = network("fast", 0);
    assert_eq!(network.parameters().count(), 1_971_352);
    let mut found: Vec<(String, Vec<usize>)> =
        state(&network).into_iter().map(|(name, shape, _)| (name, shape)).collect();
    let tensors = network.architecture().tensors();
    assert_eq!(found, tensors.iter().map(|(name, shape)| (name.clone(), shape.dims().to_vec())).collect::<Vec<_>>());
    let mut wanted = vec![
        ("whiten.weight".to_owned(), vec![24, 3, 2, 2]),
        ("whiten.bias".to_owned(), vec![24]),
        ("head.weight".to_owned(), vec![10, 256]),
    ];
    for (block, inputs, width) in [(1, 24, 64), (2, 64, 256), (3, 256, 256)] {
        wanted.push((format!("block{block}.conv1.weight"), vec![width, inputs, 3, 3]));
        wanted.push((format!("block{block}.conv2.weight"), vec![width, width, 3, 3]));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            wanted.extend(["norm1", "norm2"].map(|norm| (format!("block{block}.{norm}.{part}"), vec![width])));
        }
    }
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    // What is not trained is no parameter: no optimiser meets it.
    let frozen = |name: &str| name == "whiten.weight" || name.contains("running") || name.ends_with("norm1.weight");
    assert!(network.parameters().specs().iter().all(|spec| !frozen(&spec.name)));
}

#[test]
fn parameters_are_counted() {
    for (model, wanted) in [("lenet", 62_006), ("lab", 4_764_746), ("ae3", 47_355), ("ae4", 194_955)] {
        let network = network(model, 0);
        assert_eq!(network.parameters().count(), wanted, "{model}");
        assert_eq!(state(&network).iter().map(|(_, _, values)| values.len()).sum::<usize>(), wanted, "{model}");
    }
}

#[test]
fn initial_weights_are_distributed_as_pytorchs() {
    for model in plain() {
        let state = state(&network(model, 3));
        for ((name, shape), tensors) in pytorch(model).into_iter().zip(state.chunks_exact(2)) {
            // Kaiming's uniform with a = sqrt(5), for weight and bias alike.
            let bound = 1.0 / (outputs_and_fan_in(name, &shape).1 as f64).sqrt();
            for (tensor, _, values) in tensors {
                let count = values.len() as f64;
                let moment =
                    |power: i32| values.iter().map(|&v| (f64::from(v) / bound).powi(power)).sum::<f64>() / count;
                let what = format!("{model}'s {tensor}, {count} values");
                let largest = values.iter().map(|&v| f64::from(v).abs()).fold(0.0, f64::max);
                assert!(largest <= bound * (1.0 + 1e-6), "{what}: {largest} is beyond {bound}");
                // The largest of n uniform numbers is missing more than 12/n with a chance of e^-12.
                assert!(largest >= bound * (1.0 - 12.0 / count), "{what}: {largest} does not reach {bound}");
                // Of a uniform number in [-1, 1]: mean 0 and variance 1/3, mean square 1/3 and variance 4/45.
                let (mean, square) = (moment(1), moment(2));
                assert!(mean.abs() < 4.5 * (1.0 / 3.0 / count).sqrt(), "{what}: mean {mean}");
                assert!((square - 1.0 / 3.0).abs() < 4.5 * (4.0 / 45.0 / count).sqrt(), "{what}: mean square {square}");
            }
        }
    }
}

#[test]
fn initial_weights_come_from_the_seed_and_differ_from_layer_to_layer() {
    let [first, again, other] = [5, 5, 6].map(|seed| state(&network("ae3", seed)));
    assert_eq!(first, again);
    for (a, b) in first.iter().zip(&other) {
        assert!(a.2.iter().zip(&b.2).filter(|(x, y)| x == y).count() * 100 <= a.2.len(), "{} under another seed", a.0);
    }
    // encoder.2 and decoder.2 have the same shape and bound.
    let weights = |name: &str| &first.iter().find(|tensor| tensor.0 == name).unwrap().2;
    assert_ne!(weights("encoder.2.weight"), weights("decoder.2.weight"));
}

#[test]
fn what_is_saved_loads_equal_to_the_bit() {
    let (gpu, folder) = (gpu(), TempFolder::new("checkpoint"));
    for model in NAMES {
        let path = folder.path().join(format!("{model}.safetensors"));
        let saved = network(model, 11);
        saved.save(&gpu, &path, &[("epoch", "7".to_owned()), ("data", "shapes".to_owned())]).unwrap();

        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        for (name, shape, values) in state(&saved) {
            let view = file.tensor(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &shape[..]), "{name}");
            assert_eq!(view.data(), bytemuck::cast_slice::<f32, u8>(&values), "{name}");
        }
        assert_eq!(file.len(), state(&saved).len());
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let mut notes: BTreeMap<_, _> = header.metadata().clone().unwrap().into_iter().collect();
        let checksum = notes.remove("md5").unwrap();
        assert!(checksum.len() == 32 && checksum.contains(|c| c != '0'), "{checksum}");
        let wanted = [("data", "shapes"), ("epoch", "7"), ("model", model), ("shadegrad", env!("CARGO_PKG_VERSION"))];
        assert_eq!(notes, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())).into());

        let loaded = models::from_file(&gpu, &path, None).unwrap();
        assert_eq!(loaded.architecture().name, model);
        assert_eq!(state(&loaded), state(&saved), "{model}");
        assert_ne!(state(&network(model, 0)), state(&saved), "the seeds' weights are equal: this proves nothing");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), NAMES.len(), "a part was left behind");
}

#[test]
fn the_same_weights_are_the_same_bytes() {
    let (gpu, folder) = (gpu(), TempFolder::new("checkpoint"));
    let path = folder.path().join("weights.safetensors");
    let network = network("lenet", 1);
    let notes = [("epoch", "1".to_owned()), ("seed", "2".to_owned()), ("data", "c".to_owned()), ("x", "y".to_owned())];
    let mut versions = Vec::new();
    for _ in 0..6 {
        network.save(&gpu, &path, &notes).unwrap();
        versions.push(fs::read(&path).unwrap());
    }
    assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "the notes change places from file to file");
}

#[test]
fn a_bit_that_changed_on_the_disk_is_noticed() {
    let (gpu, folder) = (gpu(), TempFolder::new("checkpoint"));
    let path = folder.path().join("weights.safetensors");
    network("lenet", 1).save(&gpu, &path, &[("epoch", "1".to_owned())]).unwrap();
    let good = fs::read(&path).unwrap();
    for at in (8..good.len()).step_by(good.len() / 97) {
        let mut damaged = good.clone();
        damaged[at] ^= 4;
        let text = StateDict::from_bytes(&path, &damaged).expect_err("damage goes unnoticed").to_string();
        assert_one_line(&text, &path, &[]);
    }
    // The last byte is the highest of a weight's: the number stays a number.
    let damaged = [&good[..good.len() - 1], &[good[good.len() - 1] ^ 0x80]].concat();
    let text = StateDict::from_bytes(&path, &damaged).unwrap_err().to_string();
    assert_one_line(&text, &path, &["is damaged", "checksum"]);
}

#[test]
fn running_statistics_travel_too() {
    let (gpu, folder) = (gpu(), TempFolder::new("checkpoint"));
    let path = folder.path().join("bn.safetensors");
    let plan = Architecture {
        name: "bn".to_owned(),
        task: Task::Classify,
        input: [3, 32, 32],
        layers: vec![
            Layer::BatchNorm { name: "bn1".to_owned(), channels: 3, scale: true },
            Layer::BatchNorm { name: "layer1.0.bn2".to_owned(), channels: 5, scale: true },
        ],
    };
    let saved = Network::new(&gpu, plan.clone(), 0).unwrap();
    let names: Vec<String> = state(&saved).into_iter().map(|tensor| tensor.0).collect();
    let of = |layer: &str, parts: [&str; 2]| parts.map(|part| format!("{layer}.{part}"));
    let (trained, kept) = (["weight", "bias"], ["running_mean", "running_var"]);
    let wanted = [of("bn1", trained), of("layer1.0.bn2", trained), of("bn1", kept), of("layer1.0.bn2", kept)].concat();
    assert_eq!(names, wanted);
    // PyTorch's beginning: weight and variance 1, bias and mean 0.
    for (name, _, values) in state(&saved) {
        let one = name.ends_with("weight") || name.ends_with("var");
        assert!(values.iter().all(|&value| value == f32::from(u8::from(one))), "{name}");
    }
    for (index, (_, tensor)) in saved.buffers().into_iter().enumerate() {
        gpu.write(&tensor, &common::random(index as u32, tensor.count())).unwrap();
    }
    saved.save(&gpu, &path, &[]).unwrap();
    let loaded = Network::new(&gpu, plan, 0).unwrap();
    StateDict::read(&path).unwrap().load_into(&gpu, &loaded).unwrap();
    assert_eq!(state(&loaded), state(&saved));
}

/// Writes a weights file as somebody else might: `(name, dtype, shape, bytes)`.
fn write(path: &Path, tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)], note: Option<&str>) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let notes = note.map(|model| HashMap::from([("model".to_owned(), model.to_owned())]));
    fs::write(path, safetensors::serialize(views, notes).unwrap()).unwrap();
}

fn raw(state: Vec<NamedArray>) -> Vec<Stored> {
    state.into_iter().map(|(name, shape, v)| (name, Dtype::F32, shape, bytemuck::cast_slice(&v).to_vec())).collect()
}

#[test]
fn a_file_without_a_note_is_recognised_by_its_tensors() {
    let (gpu, folder) = (gpu(), TempFolder::new("checkpoint"));
    let path = folder.path().join("from_pytorch.safetensors");
    for model in NAMES {
        let wanted = state(&network(model, 2));
        let mut tensors = raw(wanted.clone());
        // The order in a file is the writer's business, and so is a step counter of batch-norm.
        tensors.reverse();
        tensors.push(("bn.num_batches_tracked".to_owned(), Dtype::I64, vec![], vec![0; 8]));
        write(&path, &tensors, None);
        // Tensors do not tell whether the pixels were normalised; who says so is believed.
        for (asked, found) in [(None, model.trim_end_matches("-lab")), (Some(model), model)] {
            let loaded = models::from_file(&gpu, &path, asked).unwrap();
            assert_eq!(loaded.architecture().name, found);
            assert_eq!(state(&loaded), wanted);
        }
    }
    let mut strange = raw(state(&network("lenet", 2)));
    strange[0].0 = "features.0.weight".to_owned();
    write(&path, &strange, None);
    let text = models::from_file(&gpu, &path, None).unwrap_err().to_string();
    assert_one_line(&text, &path, &["no model that is known here", "lenet", "conv1.bias [6]"]);
}

fn assert_one_line(text: &str, path: &Path, words: &[&str]) {
    assert!(!text.contains('\n'), "more than a line: {text}");
    assert!(text.contains(&path.display().to_string()), "the file is not named: {text}");
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
}

#[test]
fn a_bad_file_gives_one_line_and_changes_nothing() {
    let (gpu, folder) = (gpu(), TempFolder::new("checkpoint"));
    let path = folder.path().join("weights.safetensors");
    let good = || raw(state(&network("lenet", 1)));
    let edited = |edit: &dyn Fn(&mut Vec<Stored>)| {
        let mut tensors = good();
        edit(&mut tensors);
        write(&path, &tensors, Some("lenet"));
    };
    let whole = {
        edited(&|_| ());
        fs::read(&path).unwrap()
    };
    let with_first_value = |value: f32| edited(&|t| t[3].3[..4].copy_from_slice(&value.to_le_bytes()));

    type Case<'a> = (&'a str, &'a dyn Fn(), &'a [&'a str]);
    let not_lenet = "does not hold the weights of 'lenet'";
    let cases: [Case; 16] = [
        (
            "another model's",
            &|| write(&path, &raw(state(&network("ae3", 1))), None),
            &[not_lenet, "'conv1.weight' is missing"],
        ),
        ("missing", &|| edited(&|t| drop(t.remove(9))), &[not_lenet, "'fc3.bias' is missing"]),
        (
            "extra",
            &|| edited(&|t| t.push(("fc4.bias".to_owned(), Dtype::F32, vec![1], vec![0; 4]))),
            &[not_lenet, "'fc4.bias' is not part of it"],
        ),
        (
            "turned",
            &|| edited(&|t| t[4].2 = vec![400, 120]),
            &[not_lenet, "'fc1.weight' has shape [400, 120], not [120, 400]"],
        ),
        ("flat", &|| edited(&|t| t[4].2 = vec![48_000]), &[not_lenet, "'fc1.weight' has shape [48000]"]),
        (
            "half precision",
            &|| {
                edited(&|t| {
                    t[0].1 = Dtype::F16;
                    t[0].3.truncate(900);
                })
            },
            &["'conv1.weight' is stored as f16", "f32 is needed", ".float()"],
        ),
        ("NaN", &|| with_first_value(f32::NAN), &["'conv2.bias' holds a number that is not finite"]),
        ("infinite", &|| with_first_value(f32::NEG_INFINITY), &["'conv2.bias' holds a number that is not finite"]),
        ("cut off", &|| fs::write(&path, &whole[..whole.len() - 1]).unwrap(), &["is not a safetensors file"]),
        ("cut off in the header", &|| fs::write(&path, &whole[..200]).unwrap(), &["is not a safetensors file"]),
        ("too long", &|| fs::write(&path, [&whole[..], &[0]].concat()).unwrap(), &["is not a safetensors file"]),
        ("text", &|| fs::write(&path, "these are no weights at all").unwrap(), &["is not a safetensors file"]),
        (
            "a pickle",
            &|| fs::write(&path, b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0").unwrap(),
            &["is not a safetensors file"],
        ),
        ("empty", &|| fs::write(&path, b"").unwrap(), &["is not a safetensors file"]),
        ("not there", &|| fs::remove_file(&path).unwrap(), &["cannot read", "it does not exist"]),
        ("a folder", &|| fs::create_dir(&path).unwrap(), &["cannot read", "it is a folder"]),
    ];
    let network = network("lenet", 42);
    let before = state(&network);
    for (name, make, words) in cases {
        make();
        println!("{name}");
        let outcome = StateDict::read(&path).and_then(|file| file.load_into(&gpu, &network));
        assert_one_line(&outcome.unwrap_err().to_string(), &path, words);
        assert!(state(&network) == before, "a file that is {name} changes weights");
        if name != "another model's" {
            assert_one_line(&models::from_file(&gpu, &path, None).unwrap_err().to_string(), &path, words);
        }
    }
    // The same network takes a good file after all that.
    fs::remove_dir(&path).unwrap();
    fs::write(&path, &whole).unwrap();
    StateDict::read(&path).unwrap().load_into(&gpu, &network).unwrap();
    assert!(raw(state(&network)) == good());
}

#[test]
fn the_wanted_model_must_be_the_files() {
    let (gpu, folder) = (gpu(), TempFolder::new("checkpoint"));
    let path = folder.path().join("weights.safetensors");
    for note in [None, Some("ae3")] {
        write(&path, &raw(state(&network("ae3", 1))), note);
        assert_eq!(models::from_file(&gpu, &path, Some("ae3")).unwrap().architecture().name, "ae3");
        let text = models::from_file(&gpu, &path, Some("lenet")).unwrap_err().to_string();
        assert_one_line(&text, &path, &["holds the weights of 'ae3', not of 'lenet'"]);
    }
    // Nearly the wanted model: what is amiss is named.
    let mut tensors = raw(state(&network("lenet", 1)));
    tensors.remove(0);
    write(&path, &tensors, None);
    let text = models::from_file(&gpu, &path, Some("lenet")).unwrap_err().to_string();
    assert_one_line(&text, &path, &["'conv1.weight' is missing"]);
}

#[test]
fn a_note_of_an_unknown_model_names_the_file() {
    let (gpu, folder) = (gpu(), TempFolder::new("checkpoint"));
    let path = folder.path().join("weights.safetensors");
    write(&path, &raw(state(&network("lenet", 1))), Some("transformer\nof tomorrow"));
    let text = models::from_file(&gpu, &path, None).unwrap_err().to_string();
    assert_one_line(&text, &path, &["transformer", "lenet, lab"]);
}

#[test]
fn broken_weights_are_not_saved_and_a_failed_save_leaves_the_old_file() {
    let (gpu, folder) = (gpu(), TempFolder::new("checkpoint"));
    let path = folder.path().join("weights.safetensors");
    let network = network("lenet", 1);
    network.save(&gpu, &path, &[]).unwrap();
    let before = fs::read(&path).unwrap();

    gpu.fill(&network.parameters().value(5).unwrap(), f32::NAN).unwrap();
    let text = network.save(&gpu, &path, &[]).unwrap_err().to_string();
    assert_one_line(&text, &path, &["'fc1.bias' holds a number that is not finite"]);
    assert!(fs::read(&path).unwrap() == before, "the good weights are gone");

    gpu.fill(&network.parameters().value(5).unwrap(), 0.0).unwrap();
    let nowhere = folder.path().join("nowhere").join("weights.safetensors");
    let text = network.save(&gpu, &nowhere, &[]).unwrap_err().to_string();
    assert_one_line(&text, &nowhere, &["cannot write", "it does not exist"]);
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert_one_line(&network.save(&gpu, &taken, &[]).unwrap_err().to_string(), &taken, &["cannot write"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "a part was left behind");
}

#[test]
fn the_weights_that_come_with_the_program_load() {
    let gpu = gpu();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    for (file, model) in [("lenet", "lenet"), ("lenet-fgsm-8", "lenet"), ("ae3", "ae3")] {
        let path = folder.join(file).with_extension("safetensors");
        let network = shadegrad::models::from_file(&gpu, &path, Some(model)).unwrap();
        assert_eq!(network.architecture().name, model);
        assert!(std::fs::metadata(&path).unwrap().len() < 300_000, "{file} is to stay small");
    }
}
