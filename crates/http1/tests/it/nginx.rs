//! nginx as an oracle: started on sockets in a folder of its own, stopped at the end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Served;

const PROGRAM: &str = "/usr/sbin/nginx";

/// A running nginx: a front that reads whole requests and passes them to a back, which answers with the
/// target and the content's length.
pub(crate) struct Nginx {
    folder: PathBuf,
}

impl Nginx {
    /// Starts nginx, or says why not and gives `None` when this machine has none.
    pub(crate) fn start() -> Option<Nginx> {
        if !Path::new(PROGRAM).exists() {
            eprintln!("skipped: no nginx at {PROGRAM}, so nothing to compare with");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("rempart-http1-nginx-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        std::fs::write(folder.join("nginx.conf"), configuration(&folder)).expect("the folder is ours");
        let nginx = Nginx { folder };
        // It goes to the background when its sockets listen, so there is nothing to wait for.
        let output = nginx.command().output().expect("nginx is there");
        assert!(output.status.success(), "nginx did not start: {}", String::from_utf8_lossy(&output.stderr));
        Some(nginx)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("-p").arg(&self.folder).arg("-e").arg(self.folder.join("error.log"));
        command.arg("-c").arg(self.folder.join("nginx.conf"));
        command
    }

    /// What nginx makes of a connection.
    pub(crate) fn serve(&self, bytes: &[u8]) -> Served {
        let mut connection = UnixStream::connect(self.folder.join("front")).expect("nginx listens");
        connection.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        // It may refuse and close before it has read everything.
        let _ = connection.write_all(bytes).and_then(|()| connection.shutdown(Shutdown::Write));
        let mut answers = Vec::new();
        let _ = connection.read_to_end(&mut answers);
        let answers = String::from_utf8_lossy(&answers);
        // Each answer of the back is `[target length]`.
        let answer = |part: &str| {
            let (target, length) = part.split_once(']')?.0.rsplit_once(' ')?;
            Some((target.to_owned(), if length.is_empty() { 0 } else { length.parse().ok()? }))
        };
        answers.split("\r\n\r\n[").skip(1).filter_map(answer).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.command().arg("-s").arg("stop").output();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon on; master_process off; pid {folder}/pid;
        events {{ worker_connections 64; }}
        http {{
            access_log off;
            client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
            lingering_close off; proxy_ignore_client_abort on;
            server {{
                listen unix:{folder}/front;
                location / {{ proxy_pass http://unix:{folder}/back; }}
            }}
            server {{
                listen unix:{folder}/back;
                location / {{ return 200 \"[$request_uri $content_length]\"; }}
            }}
        }}"
    )
}
