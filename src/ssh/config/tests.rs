//! What files say, and what is wrong with them.

use std::os::unix::fs::PermissionsExt as _;

use std::path::{Path, PathBuf};

use super::{ConfigError, Question, SettingOrigin, SshConfig};

struct Home(tempfile::TempDir);

impl Home {
    fn new(files: &[(&str, &str)]) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = home.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<SshConfig, ConfigError> {
        SshConfig::load_from(None, self.0.path(), &self.path("system"))
    }

    fn user_of(&self, host: &str) -> Option<(String, SettingOrigin)> {
        let says = self.load().unwrap().says(&Question { host: host.into(), ..Question::default() }).unwrap();
        says.first("user").map(|w| (w.words.concat(), w.from.clone()))
    }
}

#[test]
fn the_user_s_file_comes_before_the_system_s() {
    let home = Home::new(&[(".ssh/config", "Host web1\n User ann\n"), ("system", "User system\n")]);
    assert_eq!(home.user_of("web1").unwrap(), ("ann".into(), SettingOrigin::File(home.path(".ssh/config"), 2)));
    assert_eq!(home.user_of("web2").unwrap(), ("system".into(), SettingOrigin::File(home.path("system"), 1)));
    // A named file stands alone; the usual one named does not.
    let named = |name: &str| {
        let path = home.path(name);
        let config = SshConfig::load_from(Some(&path), home.0.path(), &home.path("system")).unwrap();
        config.says(&Question { host: "web2".into(), ..Question::default() }).unwrap().first("user").is_some()
    };
    assert!(named(".ssh/config") && named("system"));
    std::fs::write(home.path("other"), "").unwrap();
    assert!(!named("other"));
}

#[test]
fn no_files_say_nothing() {
    assert_eq!(Home::new(&[]).user_of("web1"), None);
    assert!(SshConfig::load(Some(Path::new("/dev/null")), Path::new("/nowhere")).is_ok());
    let e = SshConfig::load(Some(Path::new("/nowhere/config")), Path::new("/nowhere")).unwrap_err();
    assert!(e.to_string().contains("/nowhere/config: there is no such file"), "{e:?}");
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let home = Home::new(&[(".ssh/config", "Include more\n"), (".ssh/more", "User ann\n")]);
    assert!(home.load().is_ok());
    for name in [".ssh/more", ".ssh/config"] {
        std::fs::set_permissions(home.path(name), std::fs::Permissions::from_mode(0o622)).unwrap();
        let e = home.load().unwrap_err();
        assert!(e.to_string().contains(name) && e.hint().contains("chmod 600"), "{e:?}");
        std::fs::set_permissions(home.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_file_that_includes_itself_ends() {
    let home = Home::new(&[(".ssh/config", "User ann\nInclude config\n")]);
    let e = home.load().unwrap_err();
    assert!(e.to_string().contains("config:2") && e.to_string().contains("too deep"), "{e:?}");
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    for (text, what) in [("\nUser", "nothing behind it"), ("\nUser \"ann", "not closed"), ("\nHost a !", "empty")] {
        let e = Home::new(&[(".ssh/config", text)]).load().unwrap_err();
        assert!(e.to_string().contains("config:2: ") && e.to_string().contains(what), "{e:?}");
    }
    let home = Home::new(&[]);
    std::fs::create_dir_all(home.path(".ssh/config")).unwrap();
    assert!(home.load().unwrap_err().to_string().contains("no configuration file"));
}

#[test]
fn what_ssh_alone_can_evaluate_is_noticed() {
    for (text, keyword) in [
        ("Match all\n", Some("Match")),
        ("Host a\n Include x\nHost b\n Match host c\n", Some("Match")),
        ("CanonicalizeHostname yes\n", Some("CanonicalizeHostname")),
        ("CanonicalizeHostname no\n", None),
        ("Include %d/x\n", Some("Include")),
        ("Include ${DIR}/x\n", Some("Include")),
        ("Include x\n", None),
    ] {
        let config = Home::new(&[(".ssh/config", text)]).load().unwrap();
        assert_eq!(config.asks().map(|(_, k)| k), keyword, "{text:?}");
    }
}

#[tokio::test]
async fn ssh_is_asked_about_the_file_that_was_read() {
    // ssh may look for the home directory elsewhere.
    let home = Home::new(&[(".ssh/config", "Match host web1\n User ann\n")]);
    let config = home.load().unwrap();
    let questions = ["web1", "web2"].map(|host| Question { host: host.into(), ..Question::default() });
    assert_eq!(config.says(&questions[0]), Err(ConfigError::Unanswered { host: "web1".into() }));
    config.prepare(&questions).await.unwrap();
    let [first, second] = questions.map(|question| config.says(&question).unwrap());
    let user = first.first("user").unwrap();
    assert_eq!((user.words.concat().as_str(), &user.from), ("ann", &SettingOrigin::Asked));
    assert_eq!(second.first("user"), None);
}
