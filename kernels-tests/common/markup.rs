//! Just enough of HTML to check a page: elements that nest, attributes, text, tables.

use std::collections::HashSet;

/// A piece of a page, in its order.
#[derive(Debug, PartialEq)]
pub enum Piece {
    Open { name: String, attributes: Vec<(String, String)> },
    Close(String),
    Text(String),
}

impl Piece {
    pub fn attribute(&self, wanted: &str) -> Option<&str> {
        match self {
            Self::Open { attributes, .. } => {
                attributes.iter().find(|(name, _)| name == wanted).map(|(_, v)| v.as_str())
            }
            _ => None,
        }
    }

    pub fn opens(&self, wanted: &str) -> bool {
        matches!(self, Self::Open { name, .. } if name == wanted)
    }
}

const VOID: [&str; 4] = ["meta", "link", "img", "br"];

/// Entities back to letters; a bare `&` fails.
pub fn decoded(text: &str) -> String {
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (entity, rest) = part.split_once(';').unwrap_or_else(|| panic!("a bare & in {text:?}"));
        out.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "#x27" | "#39" => '\'',
            "#x2f" => '/',
            _ => panic!("&{entity}; in {text:?}"),
        });
        out.push_str(rest);
    }
    out
}

/// Takes a page apart, and fails where elements do not nest, attributes are not quoted or signs are not escaped.
pub fn pieces(page: &str) -> Vec<Piece> {
    let mut rest = page.strip_prefix("<!doctype html>").expect("a doctype");
    let (mut pieces, mut open) = (Vec::new(), Vec::<String>::new());
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        let in_style = open.last().is_some_and(|name| name == "style");
        if !text.trim().is_empty() && !in_style {
            assert!(!text.contains('>'), "a bare > in {text:?}");
            pieces.push(Piece::Text(decoded(text.trim())));
        }
        let (tag, after) = rest[at + 1..].split_once('>').expect("a tag that ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "</{name}> closes another element");
            pieces.push(Piece::Close(name.to_owned()));
            continue;
        }
        let ends = tag.ends_with('/');
        let (name, mut inside) =
            tag.trim_end_matches('/').split_once([' ', '\n']).unwrap_or((tag.trim_end_matches('/'), ""));
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "<{tag}>");
        let mut attributes: Vec<(String, String)> = Vec::new();
        while !inside.trim().is_empty() {
            let (key, value) =
                inside.split_once("=\"").unwrap_or_else(|| panic!("an attribute without quotes in <{tag}>"));
            let (value, more) = value.split_once('"').unwrap_or_else(|| panic!("a quote is open in <{tag}>"));
            let key = key.trim();
            assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{key:?} in <{tag}>");
            assert!(attributes.iter().all(|(known, _)| known != key), "{key} twice in <{tag}>");
            attributes.push((key.to_owned(), decoded(value)));
            inside = more;
        }
        pieces.push(Piece::Open { name: name.to_owned(), attributes });
        if ends {
            pieces.push(Piece::Close(name.to_owned()));
        } else if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?} left open");
    pieces
}

/// The cells of the table with this id, row by row; parts of a cell are joined by spaces.
pub fn table(pieces: &[Piece], id: &str) -> Vec<Vec<String>> {
    let start = pieces.iter().position(|piece| piece.opens("table") && piece.attribute("id") == Some(id));
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut in_cell = false;
    for piece in &pieces[start.unwrap_or_else(|| panic!("no table {id}"))..] {
        match piece {
            Piece::Open { name, .. } if name == "tr" => rows.push(Vec::new()),
            Piece::Open { name, .. } if name == "td" || name == "th" => {
                in_cell = true;
                rows.last_mut().unwrap().push(String::new());
            }
            Piece::Close(name) if name == "td" || name == "th" => in_cell = false,
            Piece::Close(name) if name == "table" => break,
            Piece::Text(text) if in_cell => {
                let cell = rows.last_mut().unwrap().last_mut().unwrap();
                if !cell.is_empty() {
                    cell.push(' ');
                }
                cell.push_str(text);
            }
            _ => {}
        }
    }
    rows
}

/// All text of the page, without what is only in attributes.
pub fn text(pieces: &[Piece]) -> String {
    let texts =
        pieces.iter().filter_map(|piece| if let Piece::Text(text) = piece { Some(text.as_str()) } else { None });
    texts.collect::<Vec<_>>().join("\n")
}

/// Takes a report apart and checks what must hold for every one: nothing from outside, words for every picture, ids that
/// lead somewhere, and no number that is none.
pub fn checked(page: &str) -> Vec<Piece> {
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    let lower = page.to_lowercase();
    for outside in ["<script", "@import", "url(", "srcset", "<iframe", "<object", "<embed", "<base"] {
        assert!(!lower.contains(outside), "{outside} in the page");
    }
    let pieces = pieces(page);
    let (mut ids, mut refs) = (HashSet::new(), Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        let Piece::Open { name, attributes } = piece else { continue };
        for (key, value) in attributes {
            match key.as_str() {
                "id" => assert!(ids.insert(value.as_str()), "two elements are called {value}"),
                "src" => assert!(value.starts_with("data:image/png;base64,"), "src {:.40}", value),
                "href" => match value.strip_prefix('#') {
                    Some(id) => refs.push(id),
                    None => assert_eq!(value, "data:,"),
                },
                "aria-labelledby" => refs.extend(value.split(' ')),
                "d" | "x" | "y" | "width" | "height" | "cx" | "cy" | "r" | "viewBox" => {
                    assert!(!value.contains("NaN") && !value.contains("inf"), "{key}={value}");
                }
                _ => assert!(!key.starts_with("on") && key != "style", "{key} on <{name}>"),
            }
        }
        if name == "img" {
            assert!(piece.attribute("alt").is_some_and(|alt| alt.len() > 3), "a picture without words: {attributes:?}");
        }
        if name == "svg" {
            assert_eq!(piece.attribute("role"), Some("img"));
            assert!(pieces[at + 1].opens("title") && matches!(&pieces[at + 2], Piece::Text(text) if text.len() > 3));
            assert!(pieces[at + 4].opens("desc") && matches!(&pieces[at + 5], Piece::Text(text) if text.len() > 10));
        }
    }
    for id in refs {
        assert!(ids.contains(id), "nothing is called {id}");
    }
    for word in text(&pieces).split(|letter: char| !letter.is_alphanumeric()) {
        assert!(!["NaN", "inf", "Infinity", "None", "Some", "undefined"].contains(&word), "{word} in the text");
    }
    pieces
}
