//! `twnc train` by the command: each kind of data, interruption, and what is refused.

use crate::budget::{floats, network, numbers, put};
use crate::command::{text, twnc};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Images of 8x8 in four classes, a bright quarter each, with noise.
fn images() -> (Vec<u8>, Vec<u8>) {
    let noise = numbers(80 * 64, 5);
    let pixel = |(i, noise): (usize, &f32)| {
        let (class, y, x) = (i / 64 % 4, i % 64 / 8, i % 8);
        let bright = (y / 4, x / 4) == (class / 2, class % 2);
        (if bright { 180.0 } else { 40.0 } + 30.0 * noise) as u8
    };
    (noise.iter().enumerate().map(pixel).collect(), (0..80).map(|i| i % 4).collect())
}

fn idx(path: &Path, sizes: &[u32], bytes: &[u8]) {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
    file.extend(bytes);
    std::fs::write(path, file).unwrap();
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    network(folder.path(), "first");
    let (pixels, labels) = images();
    idx(&path("images"), &[80, 8, 8], &pixels);
    idx(&path("labels"), &[80], &labels);
    idx(&path("short"), &[79], &labels[..79]);
    idx(&path("nine"), &[80], &labels.iter().map(|l| l + 6).collect::<Vec<_>>());
    idx(&path("large"), &[20, 16, 16], &pixels);
    let numbers: Vec<f32> = pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
    put(&path("arrays"), "image", &[80, 1, 8, 8], "<f4", &floats(&numbers));
    let array = ndarray::ArrayD::from_shape_vec(vec![80, 1, 8, 8], numbers.clone()).unwrap();
    let archive = std::fs::File::create(path("single.npz")).unwrap();
    twnc::arrays::write_npz(archive, &[("image".to_owned(), twnc_runtime::Output::F32(array))]).unwrap();
    let huge: Vec<f32> = numbers.iter().map(|x| x * 3e38).collect();
    put(&path("huge"), "image", &[80, 1, 8, 8], "<f4", &floats(&huge));
    for (i, image) in pixels.chunks(64).enumerate() {
        let class = path("pictures").join(["a", "b", "c", "d"][i % 4]);
        std::fs::create_dir_all(&class).unwrap();
        let image = image::GrayImage::from_raw(8, 8, image.to_vec()).unwrap();
        image.save(class.join(format!("{i:03}.png"))).unwrap();
    }
    std::fs::create_dir_all(path("wide/a")).unwrap();
    image::GrayImage::new(9, 8).save(path("wide/a/0.png")).unwrap();
    std::fs::create_dir_all(path("empty/a")).unwrap();
    folder
}

#[test]
fn data_of_each_kind_are_learnt_and_what_does_not_fit_is_refused() {
    let folder = folder();
    // The least share that is right behind it, the exit code, and what is said.
    let cases: [(&str, i32, f64, &str); 14] = [
        ("--data images --labels labels --epochs 30 --fresh", 0, 0.95, ""),
        ("--data arrays --labels labels --epochs 30 --fresh", 0, 0.95, ""),
        ("--data single.npz --labels labels --epochs 30 --fresh", 0, 0.95, ""),
        ("--data pictures --epochs 30 --fresh", 0, 0.95, ""),
        ("--data images --distil --epochs 2", 0, 0.0, ""),
        ("--data images --labels short", 3, 0.0, "79"),
        ("--data images --labels nine", 3, 0.0, "one class for each sample"),
        ("--data large --labels labels", 3, 0.0, "input `image`"),
        ("--data wide", 3, 0.0, "the image is 9x8; the network takes 8x8"),
        ("--data empty", 3, 0.0, "hold no PNG or JPEG files"),
        ("--data none.npz", 3, 0.0, "none.npz"),
        ("--data single.npz --labels short", 3, 0.0, "79"),
        ("--data images --labels images", 3, 0.0, "not one class for each sample"),
        ("--data huge --labels labels --optimiser sgd --rate 1e30 --epochs 3", 3, 0.0, "finite"),
    ];
    for (arguments, code, right, words) in cases {
        let mut whole = format!("train small.onnx {arguments} -o out.onnx --batch 8 --json --quiet");
        if !arguments.contains("--rate") {
            whole.push_str(" --rate 0.01");
        }
        if right > 0.0 {
            let labels = if arguments.contains("pictures") { "" } else { " --validation-labels labels" };
            let data = arguments.split_whitespace().nth(1).unwrap();
            whole.push_str(&format!(" --validation {data}{labels}"));
        }
        let output = twnc(folder.path(), &whole);
        let said = text(&[output.stdout.clone(), output.stderr].concat());
        assert_eq!(output.status.code(), Some(code), "`twnc {whole}`: {said}");
        assert!(said.contains(words), "`twnc {whole}` does not say `{words}`: {said}");
        let target = folder.path().join("out.onnx");
        assert_eq!(target.exists(), code == 0, "`twnc {whole}`");
        if code == 0 {
            let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(
                right == 0.0 || result["validation_right"].as_f64() >= Some(right),
                "`twnc {whole}`: {result}"
            );
            // What was trained is ternary, and compiles so.
            let compiled = twnc(folder.path(), "out.onnx -o out.bin");
            assert!(text(&compiled.stdout).contains("3 ternary layers"), "{}", text(&compiled.stderr));
            std::fs::remove_file(target).unwrap();
        }
    }
}

#[test]
fn a_training_that_is_killed_goes_on_to_the_same_network() {
    let folder = folder();
    let options = "--data images --labels labels --epochs 20 --batch 4 --augment shift=1 --quiet";
    let whole = twnc(folder.path(), &format!("train small.onnx {options} -o whole.onnx"));
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let command = format!("train small.onnx {options} -o parts.onnx --checkpoint run.ckpt --resume");
    for signal in ["-KILL", "-INT"] {
        let checkpoint = folder.path().join("run.ckpt");
        let before = std::fs::read(&checkpoint).ok();
        let mut child = Command::new(env!("CARGO_BIN_EXE_twnc"))
            .args(command.split_whitespace())
            .current_dir(folder.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let since = Instant::now();
        let changed = || std::fs::read(&checkpoint).ok() != before;
        while !changed() && child.try_wait().unwrap().is_none() && since.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let _ = child.wait().unwrap();
        assert!(checkpoint.exists());
    }
    let rest = twnc(folder.path(), &command);
    assert!(rest.status.success(), "{}", text(&rest.stderr));
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("parts.onnx") == read("whole.onnx"));
    // Without --resume, what is there is not overwritten; of another training, it is refused.
    let said = twnc(folder.path(), &command.replace(" --resume", ""));
    assert_eq!(said.status.code(), Some(2));
    let said = twnc(folder.path(), &command.replace("--batch 4", "--batch 8"));
    assert_eq!(said.status.code(), Some(3), "{}", text(&said.stderr));
}

/// A class is what its folder is called: where validation lacks one, or another program has left a folder of its own.
#[test]
fn classes_are_the_names_of_folders() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let copy = |from: &str, to: &str| {
        std::fs::create_dir_all(path(to)).unwrap();
        for entry in path(from).read_dir().unwrap() {
            let file = entry.unwrap().path();
            std::fs::copy(&file, path(to).join(file.file_name().unwrap())).unwrap();
        }
    };
    copy("pictures/a", "some/a");
    copy("pictures/c", "some/c");
    ["a", "b", "c", "d"]
        .iter()
        .for_each(|class| copy(&format!("pictures/{class}"), &format!("more/{class}")));
    copy("pictures/a", "more/.hidden");
    copy("pictures/a", "other/e");
    let train = |data: &str, validation: &str| {
        let line = format!(
            "train small.onnx --data {data} --validation {validation} --epochs 30 --fresh --rate 0.01 --batch 8 -o out.onnx --json --quiet"
        );
        twnc(folder.path(), &line)
    };
    for (data, validation) in [("pictures", "some"), ("pictures", "more"), ("more", "pictures")] {
        let output = train(data, validation);
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(result["validation_right"].as_f64() >= Some(0.95), "{data}, {validation}: {result}");
    }
    let output = train("pictures", "other");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("`e` is no class of the samples to train on"), "{said}");
}

/// Before the first step, and by the file that it is about.
#[test]
fn what_would_fail_in_the_end_fails_in_the_beginning() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("taken")).unwrap();
    // The options, the exit code, and what is said.
    let cases = [
        ("-o missing/out.onnx", 3, "its folder does not exist"),
        ("-o taken", 3, "taken"),
        ("-o out.onnx --checkpoint out.onnx", 2, "out.onnx would be written twice"),
        ("-o out.onnx --curve a.csv --curve ./a.csv", 2, "a.csv would be written twice"),
        ("-o out.onnx --validation images --validation-labels short", 3, "short: 79 labels for 80 samples"),
        ("-o out.onnx --validation large --validation-labels labels", 3, "large"),
        ("-o out.onnx --validation huge --validation-labels nine", 3, "nine: label"),
    ];
    for (options, code, words) in cases {
        let line = format!("train small.onnx --data images --labels labels --epochs 1 {options}");
        let output = twnc(folder.path(), &line);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "`twnc {line}`: {said}");
        assert!(
            said.contains(words) && !said.contains("epoch "),
            "`twnc {line}` does not say `{words}`: {said}"
        );
        assert!(!folder.path().join("out.onnx").exists());
    }
}
