//! What DX12 and Metal are given: naga's translation of a kernel's text, by nearly the options that wgpu sets there. No such
//! adapter is needed; whether its own compiler takes the translation is another question.

use naga::back::{hlsl, msl};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

/// Translates each entry point of a kernel's text to HLSL and to MSL; returns what they became, or why one of them cannot be.
pub fn translated(text: &str) -> Result<Vec<String>, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info = validator.validate(&module).map_err(|error| error.emit_to_string(text))?;
    let names = module.entry_points.iter().map(|entry| &entry.name);
    let both = names.map(|name| Ok([to_hlsl(&module, &info, name)?, to_msl(&module, &info, name)?]));
    Ok(both.collect::<Result<Vec<_>, String>>()?.concat())
}

/// For the shader model that subgroups need.
fn to_hlsl(module: &Module, info: &ModuleInfo, entry: &str) -> Result<String, String> {
    // Where the number of workgroups comes from.
    let special = hlsl::BindTarget { space: 255, ..hlsl::BindTarget::default() };
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        special_constants_binding: Some(special),
        ..hlsl::Options::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry.to_owned())) };
    let mut text = String::new();
    let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None);
    named(written.map_err(|error| format!("{entry} to HLSL: {error}"))?.entry_point_names, entry)?;
    Ok(text)
}

/// For Metal 2.4 and later, on which wgpu offers subgroups.
fn to_msl(module: &Module, info: &ModuleInfo, entry: &str) -> Result<String, String> {
    let options = msl::Options { lang_version: (2, 4), ..msl::Options::default() };
    let pipeline =
        msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry.to_owned())), ..Default::default() };
    let written = msl::write_string(module, info, &options, &pipeline);
    let (text, written) = written.map_err(|error| format!("{entry} to MSL: {error}"))?;
    named(written.entry_point_names, entry)?;
    Ok(text)
}

/// One entry point was asked for, and it was written.
fn named<E: std::fmt::Display>(names: Vec<Result<String, E>>, entry: &str) -> Result<(), String> {
    match names.as_slice() {
        [Ok(_)] => Ok(()),
        [Err(error)] => Err(format!("{entry}: {error}")),
        others => Err(format!("{entry}: {} entry points were written", others.len())),
    }
}
