//! Writes out short loops of a kernel before it is compiled.
//!
//! A loop marked `// unroll` is written out with its counter as a `const`, so that register arrays are
//! indexed by constants and naga's loop bounds do not stand in the inner loop: on llvmpipe that is a factor
//! of two for a blocked matrix product (measured; see shaders/NOTES.md). The files under `shaders/`
//! stay plain WGSL, which any tool can open.

use super::Const;

const MARK: &str = "// unroll";

/// The source with every marked loop written out. A marked loop has the form
/// `for (var NAME = START; NAME < END; NAME++) { // unroll`, where START and END are sums of `consts`, of the counters of marked
/// loops around it, of numbers, and of `min` and `max` of two such.
pub(super) fn unroll(source: &str, consts: &[Const]) -> Result<String, String> {
    write_out(source, &mut consts.to_vec())
}

/// The same of a part of the source, within loops whose counters are among `known`.
fn write_out<'a>(source: &'a str, known: &mut Vec<(&'a str, u32)>) -> Result<String, String> {
    let mut out = String::with_capacity(source.len() * 4);
    let mut rest = source;
    while let Some(mark) = rest.find(MARK) {
        let header_start = rest[..mark].rfind("for (").ok_or("an unroll mark stands behind no loop")?;
        let header = &rest[header_start..mark];
        let wrong = |why: String| format!("'{}' is not a loop that can be unrolled: {why}", header.trim());
        let (name, [start, end]) = parse(header).ok_or_else(|| wrong("its form is another".to_string()))?;
        let [start, end] = [value(start, known).map_err(wrong)?, value(end, known).map_err(wrong)?];
        let body_start = mark + MARK.len();
        let body_length = body_length(&rest[body_start..]).ok_or_else(|| format!("'{header}' is not closed"))?;
        let body = &rest[body_start..body_start + body_length];
        out.push_str(&rest[..header_start]);
        for count in start..end {
            known.push((name, count));
            let written = write_out(body, known)?;
            known.pop();
            out.push_str(&format!("{{ const {name} = {count}u;{written}}}\n"));
        }
        rest = &rest[body_start + body_length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The counter of a loop's header, and where it starts and ends.
fn parse(header: &str) -> Option<(&str, [&str; 2])> {
    let (name, rest) = header.strip_prefix("for (var ")?.split_once(" = ")?;
    let (start, rest) = rest.split_once("; ")?;
    let (end, rest) = rest.strip_prefix(name)?.strip_prefix(" < ")?.split_once("; ")?;
    rest.starts_with(&format!("{name}++)")).then_some((name, [start, end]))
}

/// The value of a sum.
fn value(sum: &str, known: &[(&str, u32)]) -> Result<u32, String> {
    let (found, rest) = parse_sum(sum, known)?;
    if rest.is_empty() { Ok(found) } else { Err(format!("'{rest}' follows a sum")) }
}

/// The value of the sum that a text begins with, and what follows it.
fn parse_sum<'t>(text: &'t str, known: &[(&str, u32)]) -> Result<(u32, &'t str), String> {
    let (mut found, mut rest) = parse_term(text, known)?;
    loop {
        let (next, sum): (_, fn(u32, u32) -> Option<u32>) = match rest.trim_start().split_at_checked(1) {
            Some(("+", next)) => (next, u32::checked_add),
            Some(("-", next)) => (next, u32::checked_sub),
            _ => return Ok((found, rest.trim_start())),
        };
        let (term, after) = parse_term(next, known)?;
        found = sum(found, term).ok_or_else(|| format!("'{text}' has no value of 32 bits"))?;
        rest = after;
    }
}

/// The value of the term that a text begins with, and what follows it.
fn parse_term<'t>(text: &'t str, known: &[(&str, u32)]) -> Result<(u32, &'t str), String> {
    let text = text.trim_start();
    let of_two = [("min(", u32::min as fn(u32, u32) -> u32), ("max(", u32::max)];
    for (begins, choose) in of_two {
        let Some(inner) = text.strip_prefix(begins) else { continue };
        let (one, rest) = parse_sum(inner, known)?;
        let rest = rest.strip_prefix(',').ok_or_else(|| format!("'{text}' has one operand"))?;
        let (other, rest) = parse_sum(rest, known)?;
        let rest = rest.strip_prefix(')').ok_or_else(|| format!("'{text}' is not closed"))?;
        return Ok((choose(one, other), rest));
    }
    let end = text.find(|next: char| next != '_' && !next.is_alphanumeric()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    // A counter hides a constant of its name, and one further out.
    let found = known.iter().rev().find(|(name, _)| *name == word).map(|&(_, value)| value);
    let found = found.or_else(|| word.strip_suffix('u').unwrap_or(word).parse().ok());
    Ok((found.ok_or_else(|| format!("'{word}' is not known"))?, rest))
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
        for (header, why) in [
            ("var i = 0u; i < M; i++", "'M' is not known"),
            ("var i = 0u; j < 2u; i++", "its form is another"),
            ("var i = 0u; i < 2u; i += 2u", "its form is another"),
            ("var i = 0u; i < 2u - 3u; i++", "has no value of 32 bits"),
            ("var i = 0u; i < max(2u); i++", "has one operand"),
            ("var i = 0u; i < 2u * 3u; i++", "'* 3u' follows a sum"),
        ] {
            let refused = unroll(&format!("for ({header}) {{ // unroll\n}}"), &[]).unwrap_err();
            assert!(refused.contains(why), "{header}: {refused}");
        }
    }

    #[test]
    fn where_a_loop_starts_and_ends_may_depend_on_those_around_it() {
        let source = "for (var s = 0u; s < N + 2u; s++) { // unroll
            for (var k = max(s, N - 1u) - LAST; k < min(3u, s + 1u); k++) { // unroll\n x[s - k]; }\n}";
        let out = unroll(source, &[("N", 4), ("LAST", 3)]).unwrap();
        let pairs: Vec<(u32, u32)> = (0..6).flat_map(|s| (0..3).map(move |k| (s, k))).collect();
        let wanted = pairs.iter().filter(|(s, k)| s >= k && s - k < 4);
        assert_eq!(out.matches("x[s - k];").count(), wanted.count());
        assert_eq!([0, 1, 2].map(|k| out.matches(&format!("const k = {k}u;")).count()), [4; 3]);
    }
}
