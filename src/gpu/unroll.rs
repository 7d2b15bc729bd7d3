//! Writes out short loops of a kernel before it is compiled.
//!
//! A loop marked `// unroll` is written out with its counter as a `const`, so that register arrays are
//! indexed by constants and naga's loop bounds do not stand in the inner loop: on llvmpipe that is a factor
//! of two for a blocked matrix product (measured; see shaders/NOTES.md). The files under `shaders/`
//! stay plain WGSL, which any tool can open.

use super::Const;

const MARK: &str = "// unroll";

/// The source with every marked loop written out. A marked loop has the form
/// `for (var NAME = 0u; NAME < LIMIT; NAME++) { // unroll`, where LIMIT is one of `consts`.
pub(super) fn unroll(source: &str, consts: &[Const]) -> Result<String, String> {
    let mut out = String::with_capacity(source.len() * 4);
    let mut rest = source;
    while let Some(mark) = rest.find(MARK) {
        let header_start = rest[..mark].rfind("for (").ok_or("an unroll mark stands behind no loop")?;
        let header = &rest[header_start..mark];
        let (name, times) = parse(header, consts)?;
        let body_start = mark + MARK.len();
        let body_length = body_length(&rest[body_start..]).ok_or_else(|| format!("'{header}' is not closed"))?;
        let body = unroll(&rest[body_start..body_start + body_length], consts)?;
        out.push_str(&rest[..header_start]);
        for value in 0..times {
            out.push_str(&format!("{{ const {name} = {value}u;{body}}}\n"));
        }
        rest = &rest[body_start + body_length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The counter and the number of rounds of a loop's header.
fn parse<'a>(header: &'a str, consts: &[Const]) -> Result<(&'a str, u32), String> {
    let wrong = || format!("'{}' is not a loop that can be unrolled", header.trim());
    let name = header.strip_prefix("for (var ").and_then(|tail| tail.split(' ').next()).ok_or_else(wrong)?;
    let limit = header.split(&format!("{name} < ")).nth(1).and_then(|tail| tail.split(';').next()).ok_or_else(wrong)?;
    let limit = limit.trim();
    let known = consts.iter().find(|(known, _)| *known == limit).map(|&(_, value)| value);
    let times = known.or_else(|| limit.trim_end_matches('u').parse().ok()).ok_or_else(wrong)?;
    Ok((name, times))
}

/// Bytes up to the brace that closes the block in which the text begins.
fn body_length(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::unroll;

    #[test]
    fn marked_loops_are_written_out_and_others_left() {
        let source = "a;\nfor (var i = 0u; i < N; i++) { // unroll\n  for (var j = 0u; j < 2u; j++) { // unroll\n x[i] += j; }\n}\nfor (var k = 0u; k < N; k++) { y; }";
        let out = unroll(source, &[("N", 3)]).unwrap();
        assert_eq!(out.matches("x[i] += j;").count(), 6);
        assert_eq!(out.matches("const i = 2u;").count(), 1);
        assert!(out.contains("for (var k = 0u; k < N; k++) { y; }"));
        assert_eq!(out.matches('{').count(), out.matches('}').count());
        assert!(unroll("for (var i = 0u; i < M; i++) { // unroll\n}", &[]).is_err());
    }
}
