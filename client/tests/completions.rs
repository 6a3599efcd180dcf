//! What a shell offers by the script that the program prints.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

fn script(shell: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_plainchant-client")).args(["completions", shell]).output().unwrap();
    assert!(output.status.success(), "{shell}");
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers after these words.
fn offered(words: &[&str]) -> Vec<String> {
    let ask = "COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); $(complete -p $1 | sed 's/.* -F \\([^ ]*\\) .*/\\1/') \"$1\" \"${!#}\" \"${@:$#-1:1}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let asked = format!("{}\n{ask}", script("bash"));
    let output = Command::new("bash").args(["-c", &asked, "bash"]).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_flags_by_the_script_that_is_printed() {
    assert_eq!(offered(&["plainchant-client", "ro"]), ["roster"]);
    assert_eq!(offered(&["plainchant-client", "roster", "a"]), ["approve"]);
    assert_eq!(offered(&["plainchant-client", "join", "house", "--invitation-"]), ["--invitation-file"]);
    assert_eq!(offered(&["plainchant-client", "run", "house", "--p"]), ["--progress"]);
}

#[test]
fn every_shell_has_a_script_that_names_the_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(script(shell).contains("invitation-file"), "{shell}");
    }
}

/// As `... | head` when head is done.
#[test]
fn a_reader_that_has_gone_ends_the_program_without_a_word() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainchant-client"));
    let output = command.args(["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(141), &b""[..]));
}
