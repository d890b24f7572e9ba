//! House rules that no compiler checks: sizes, columns, heads, places of `unsafe`, imports
//! between our crates. There is no list of exceptions: what does not fit is split.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 800;
const HUB_LINES_MAX: usize = 300;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Files that hold order and dispatch only.
const HUBS: [&str; 5] = [
    "shards/src/turn.rs",
    "shards/src/shard.rs",
    "shards/src/core.rs",
    "engine/src/driver.rs",
    "shards/sim/src/driver.rs",
];

/// Which of our crates each crate may depend on.
const IMPORTS: [(&str, &[&str]); 13] = [
    ("wire", &[]),
    ("wire-fuzz", &["wire"]),
    ("persistence", &["wire"]),
    ("embedded", &["persistence", "wire"]),
    // Their drivers have the same names.
    ("redis", &["persistence", "wire", "redis"]),
    ("scylla", &["persistence", "wire", "scylla"]),
    ("shards", &["persistence", "wire"]),
    ("sim", &["shards", "persistence", "wire", "client"]),
    ("ring", &[]),
    ("engine", &["shards", "persistence", "embedded", "redis", "scylla", "ring"]),
    ("client", &["wire"]),
    // The last two only behind its feature `scylla`.
    ("bench", &["client", "ring", "persistence", "scylla"]),
    ("tuning", &["engine"]),
];

/// Modules of `std` that the deterministic core does without.
const NOT_IN_SHARDS: [&str; 6] = ["time", "thread", "net", "fs", "env", "process"];

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let (mut problems, mut sources, mut manifests) = (Vec::new(), 0, 0);
    for path in files(root) {
        let Ok(text) = fs::read_to_string(root.join(&path)) else { continue };
        let name = path.to_str().expect("a plain path");
        if name.ends_with(".rs") {
            sources += 1;
            problems.extend(check_source(name, &text));
        } else if name.ends_with("Cargo.toml") && name != "Cargo.toml" {
            manifests += 1;
            problems.extend(check_manifest(name, &text));
        }
    }
    assert!(sources >= 20 && manifests >= 10, "saw {sources} sources, {manifests} manifests");
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// What git knows or would add, relative to `root`; without git everything but build output.
fn files(root: &Path) -> Vec<PathBuf> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    match Command::new("git").args(arguments).current_dir(root).output() {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            let names = String::from_utf8(output.stdout).expect("plain paths");
            names.split_terminator('\0').map(PathBuf::from).collect()
        }
        _ => {
            let mut found = Vec::new();
            walk(root, Path::new(""), &mut found);
            found
        }
    }
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(folder)).expect("a readable folder").flatten() {
        let name = entry.file_name();
        let path = folder.join(&name);
        if entry.path().is_dir() {
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                walk(root, &path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn check_source(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    let lines_max = if HUBS.contains(&name) { HUB_LINES_MAX } else { FILE_LINES_MAX };
    if lines > lines_max {
        problems.push(format!("{name}: {lines} lines, at most {lines_max}"));
    }
    if !text.starts_with("//! ") {
        problems.push(format!("{name}:1: no `//!` line on top"));
    }
    for (line, text) in (1..).zip(text.lines()) {
        let columns = text.chars().count();
        if columns > COLUMNS_MAX {
            problems.push(format!("{name}:{line}: {columns} columns, at most {COLUMNS_MAX}"));
        }
    }
    let code = code_of(text);
    for Function { line, name: function, lines } in functions(&code) {
        if lines > FUNCTION_LINES_MAX {
            let limit = format!("at most {FUNCTION_LINES_MAX}");
            problems.push(format!("{name}:{line}: `{function}` has {lines} lines, {limit}"));
        }
    }
    if !name.starts_with("engine/ring/") {
        let lines = (1..).zip(code.lines()).filter(|(_, line)| words(line).any(|w| w == "unsafe"));
        problems.extend(lines.map(|(line, _)| format!("{name}:{line}: `unsafe`")));
    }
    if name.starts_with("shards/src/") {
        problems.extend(outside_world(&code).into_iter().map(|path| format!("{name}: `{path}`")));
    }
    problems
}

/// The code alone: comments, and what stands between quotes, become spaces. Lines stay.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut at) = (String::with_capacity(text.len()), 0);
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends; `at` if none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
    match rest {
        ['/', '/', ..] => at + rest.iter().take_while(|c| **c != '\n').count(),
        ['/', '*', ..] => at + block_comment(rest),
        ['"', ..] => at + quoted(rest, '"'),
        // A character, and not a lifetime.
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => at + quoted(rest, '\''),
        ['r', '"' | '#', ..] => {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            let mut before = chars[..at].iter().rev().skip_while(|c| matches!(**c, 'b' | 'c'));
            // `r#name` is a name, and `for"` does not end in a prefix.
            if rest.get(1 + hashes) != Some(&'"') || before.next().is_some_and(is_name) {
                return at;
            }
            let close: Vec<char> = ['"'].into_iter().chain((0..hashes).map(|_| '#')).collect();
            let body = &rest[2 + hashes..];
            let end = body.windows(close.len()).position(|window| window == close);
            at + 2 + hashes + end.map_or(body.len(), |end| end + close.len())
        }
        _ => at,
    }
}

fn quoted(chars: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn block_comment(chars: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < chars.len() {
        match &chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

struct Function {
    line: usize,
    name: String,
    /// From `fn` to the closing brace.
    lines: usize,
}

/// All functions with a body, nested ones too.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let name: String = code[at + 3..].chars().take_while(|c| is_word(*c)).collect();
        if code[..at].chars().next_back().is_some_and(is_word) || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&code[at..]) {
            let line = 1 + code[..at].matches('\n').count();
            found.push(Function { line, name, lines: code[at..at + end].lines().count() });
        }
    }
    found
}

/// Behind the closing brace of the body; `None` for a function without one.
fn body_end(code: &str) -> Option<usize> {
    let (mut nested, mut braces) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => nested += 1,
            ')' | ']' => nested -= 1,
            ';' if nested == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' if braces == 1 && nested == 0 => return Some(at + 1),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c| !is_word(c))
}

/// Paths in the code that lead out of the deterministic core.
fn outside_world(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let dense: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let dense = dense.replace(" ::", "::").replace(":: ", "::");
    for (at, _) in dense.match_indices("std::") {
        let starts = !dense[..at].chars().next_back().is_some_and(is_word);
        for module in modules(&dense[at + 5..]) {
            if starts && NOT_IN_SHARDS.contains(&module) {
                found.push(format!("std::{module}"));
            }
        }
    }
    let rand = dense.match_indices("rand::");
    let rand = rand.filter(|(at, _)| !dense[..*at].chars().next_back().is_some_and(is_word));
    found.extend(rand.map(|_| "rand".to_owned()));
    found
}

/// The first names of a path's end: one, or those of a group in braces.
fn modules(path: &str) -> Vec<&str> {
    let first = |path: &'_ str| path.find(|c| !is_word(c)).unwrap_or(path.len());
    let Some(group) = path.strip_prefix('{') else { return vec![&path[..first(path)]] };
    let (mut depth, mut found, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                let name = group[start..at].trim();
                found.push(&name[..first(name)]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

fn check_manifest(name: &str, text: &str) -> Vec<String> {
    let (mut section, mut package, mut own) = (String::new(), String::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).to_owned();
            if let Some((_, dependency)) = section.split_once("dependencies.") {
                own.extend(our_crate(dependency, "").map(|ours| (ours, is_dev(&section))));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.split('.').next().expect("a first part").trim();
        if section == "package" && key == "name" {
            package = value.trim().trim_matches('"').trim_start_matches("ringmail-").to_owned();
        } else if section.ends_with("dependencies") {
            own.extend(our_crate(key, value).map(|ours| (ours, is_dev(&section))));
        } else if section.contains("dependencies.") && key == "package" {
            own.extend(our_crate("", line).map(|ours| (ours, is_dev(&section))));
        }
    }
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == package) else {
        return vec![format!("{name}: `{package}` is not in the table of imports")];
    };
    // Tests may use more, except what would turn the arrows around.
    let forbidden = |ours: &str, dev: bool| match (dev, ours, &*package) {
        (true, "wire", "engine") => true,
        (true, "engine", importer) => importer != "tuning",
        (true, ..) => false,
        (false, ..) => !allowed.contains(&ours),
    };
    let wrong = own.iter().filter(|(ours, dev)| forbidden(ours, *dev));
    wrong.map(|(ours, _)| format!("{name}: `{package}` may not import `{ours}`")).collect()
}

fn is_dev(section: &str) -> bool {
    section.contains("dev-dependencies")
}

/// Which of our crates a dependency is, by its key or by the package that the key stands for.
fn our_crate(key: &str, value: &str) -> Option<&'static str> {
    let package = value.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1));
    let name = package.unwrap_or(key).trim_matches('"');
    let name = name.strip_prefix("ringmail-").unwrap_or(name);
    IMPORTS.iter().map(|(ours, _)| *ours).find(|ours| *ours == name)
}

#[test]
fn code_is_seen_without_comments_and_literals() {
    let text = r##"a /* b /* c */ d */ 'x' '\'' "e\"f" r#"g " h"# br"i" 'life r#fn // j"##;
    let code = code_of(text);
    assert_eq!(code.chars().count(), text.chars().count());
    let left: Vec<_> = code.split_whitespace().collect();
    assert_eq!(left, ["a", "b", "'life", "r#fn"]);
    assert_eq!(code_of("\"a\nb\"\nc").lines().count(), 3);
    assert_eq!(code_of("'{' b'}' \"{\" '\\u{7f}'").trim(), "b");
}

#[test]
fn functions_are_measured() {
    let body = "    x();\n".repeat(69);
    let text = format!("//! Head.\n\nfn long(a: [u8; 2]) -> u8 {{\n{body}}}\n");
    let found = functions(&text);
    assert_eq!((found[0].line, &*found[0].name, found[0].lines), (3, "long", 71));
    assert_eq!(check_source("a.rs", &text).len(), 1);
    let fits = text.replacen("    x();\n", "", 1);
    assert_eq!(check_source("a.rs", &fits), Vec::<String>::new());
    let none = "trait T { fn a(&self, f: fn(u8) -> u8) -> [u8; 2]; }\nstruct S { f: fn (u8) }\n";
    assert!(functions(none).is_empty());
    let nested = "fn a() {\n if x { y(|z| { z }) }\n fn b() {\n }\n}\n";
    let lines: Vec<_> = functions(nested).iter().map(|function| function.lines).collect();
    assert_eq!(lines, [5, 2]);
}

#[test]
fn bad_sources_are_found() {
    let problems = |name: &str, text: &str| check_source(name, text).len();
    assert_eq!(problems("a.rs", "//! Head.\n"), 0);
    assert_eq!(problems("a.rs", "// Head.\n"), 1);
    assert_eq!(problems("a.rs", &format!("//! {}\n", "ü".repeat(96))), 0);
    assert_eq!(problems("a.rs", &format!("//! {}\n", "ü".repeat(97))), 1);
    let lines = |count: usize| format!("//! Head.\n{}", "\n".repeat(count - 1));
    assert_eq!(problems("a.rs", &lines(800)), 0);
    assert_eq!(problems("a.rs", &lines(801)), 1);
    assert_eq!(problems("shards/src/turn.rs", &lines(300)), 0);
    assert_eq!(problems("shards/src/turn.rs", &lines(301)), 1);
    let danger = "//! Head: unsafe.\n#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
    assert_eq!(problems("engine/src/a.rs", danger), 1);
    assert_eq!(problems("engine/ring/src/a.rs", danger), 0);
}

#[test]
fn the_core_has_no_outside_world() {
    let found = |code: &str| outside_world(&code_of(code));
    assert_eq!(found("use std::time::Duration;"), ["std::time"]);
    assert_eq!(found("use std::{\n    fmt,\n    thread::{self, sleep},\n};"), ["std::thread"]);
    assert_eq!(found("let x = ::std::net::lookup();"), ["std::net"]);
    assert_eq!(found("use std :: fs;"), ["std::fs"]);
    assert_eq!(found("let x = rand::random();"), ["rand"]);
    let fine = "use std::{fmt::{self, time}, collections}; // std::time\nlet t = operand::time(1);";
    assert_eq!(found(fine), Vec::<String>::new());
    assert_eq!(check_source("shards/src/a.rs", "//! Head.\nuse std::fs;\n").len(), 1);
    assert_eq!(check_source("engine/src/a.rs", "//! Head.\nuse std::fs;\n").len(), 0);
}

#[test]
fn forbidden_imports_are_found() {
    let check = |package: &str, rest: &str| {
        check_manifest("Cargo.toml", &format!("[package]\nname = \"ringmail-{package}\"\n{rest}"))
    };
    let fine = "[dependencies]\nshards.workspace = true\nlibc = \"0.2\"\n";
    assert_eq!(check("engine", fine), Vec::<String>::new());
    let wrong = "Cargo.toml: `engine` may not import `wire`";
    assert_eq!(check("engine", "[dependencies]\nwire.workspace = true\n"), [wrong]);
    assert_eq!(check("engine", "[dependencies]\nwire = { workspace = true }\n"), [wrong]);
    assert_eq!(check("engine", "[dependencies]\nw = { package = \"ringmail-wire\" }\n"), [wrong]);
    assert_eq!(check("engine", "[dependencies.wire]\npath = \"../wire\"\n"), [wrong]);
    assert_eq!(check("engine", "[dependencies.w]\npackage = \"ringmail-wire\"\n"), [wrong]);
    assert_eq!(check("engine", "[target.'cfg(unix)'.dependencies]\nwire = \"1\"\n"), [wrong]);
    assert_eq!(check("engine", "[build-dependencies]\nwire = \"1\"\n"), [wrong]);
    assert_eq!(check("engine", "[dev-dependencies]\nwire = \"1\"\n"), [wrong]);
    assert_eq!(check("engine", "[dev-dependencies]\nclient = \"1\"\n"), Vec::<String>::new());
    assert_eq!(check("sim", "[dev-dependencies]\nengine = \"1\"\n").len(), 1);
    assert_eq!(check("other", "").len(), 1);
}
