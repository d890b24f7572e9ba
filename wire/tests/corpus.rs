//! The corpus of every fuzz target holds its property.

use std::fs;

type Property = fn(&[u8]);

#[test]
fn every_target_replays_its_corpus() {
    let fuzz = format!("{}/fuzz", env!("CARGO_MANIFEST_DIR"));
    let targets: [(&str, Property); 3] = [
        ("decode_client", wire::fuzzing::decode_client),
        ("decode_server", wire::fuzzing::decode_server),
        ("deframe", wire::fuzzing::deframe),
    ];
    for (target, property) in targets {
        assert!(fs::exists(format!("{fuzz}/fuzz_targets/{target}.rs")).unwrap());
        let folder = format!("{fuzz}/corpus/{target}");
        let mut count = 0;
        for file in fs::read_dir(&folder).expect(&folder) {
            property(&fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 10, "{folder} has {count} files");
    }
    let listed = fs::read_dir(format!("{fuzz}/fuzz_targets")).unwrap().count();
    assert_eq!(listed, targets.len());
}
