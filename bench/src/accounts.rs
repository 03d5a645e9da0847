//! The accounts service: what sixteen simultaneous sign-ins cost everybody else, and a session's reading next
//! to a bare axum route with one indexed SELECT. Each is measured with and without, in alternating rounds.

mod client;

use std::process::Stdio;

use hsmd_tests::{Database, RunningHsm, RunningService, program, until, write_private};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::Plan;
use crate::accounts::client::{Caller, get, measure, post, press};
use crate::report::{Report, Row, share};
use crate::sample::{Sample, median};

/// How many sign in at once.
const SIGN_INS: usize = 16;

/// How many read sessions at once.
const READERS: usize = 8;

/// The service with its users and their neighbours. Passwords are hashed as its defaults say.
struct Fixture {
    /// Without the scheme.
    address: String,
    /// Whose sign-in each caller repeats.
    sign_ins: Vec<String>,
    /// A session's.
    cookie: String,
    /// The bare route of the same session.
    bare: String,
    bare_path: String,
    _bare: Child,
    _accounts: RunningService,
    _database: Database,
    _hsm: RunningHsm,
    _folder: TempDir,
}

/// Measures all of it.
pub(crate) async fn measure_all(plan: &Plan, report: &mut Report) {
    let fixture = Fixture::start().await;
    others(plan, report, &fixture).await;
    sessions(plan, report, &fixture).await;
}

/// `/ok`, alone and beside sixteen who sign in.
async fn others(plan: &Plan, report: &mut Report, fixture: &Fixture) {
    let ok = [get("/api/auth/ok", "")];
    let (mut idle, mut beside, mut signing) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        eprintln!("sign-ins, round {round} of {}", plan.rounds);
        idle.push(measure(&fixture.address, &ok, plan.millis).await);
        let callers = press(&fixture.address, &fixture.sign_ins);
        // Until the first of them are through, the others wait.
        fixture.sign_in_once().await;
        beside.push(measure(&fixture.address, &ok, plan.millis).await);
        drop(callers);
        // What they have left in the queue comes before this one.
        fixture.sign_in_once().await;
        signing.push(measure(&fixture.address, &fixture.sign_ins, plan.millis).await);
    }
    let rows = vec![
        Row::of("/ok, 1 caller", &idle, None),
        Row::of("/ok, 1 caller, beside 16 sign-ins", &beside, Some(&idle)),
        Row::of("sign-in, 16 callers", &signing, None),
    ];
    report.table("Accounts: sign-ins and everybody else", rows);
    let ratios = beside.iter().zip(&idle).map(|(beside, idle)| beside.p50 / idle.p50);
    report.at_most("p50 of /ok beside 16 sign-ins / idle", 3.0, median(ratios));
}

/// `/get-session` with a remembered token, `/token` with a new one each time, and the bare route.
async fn sessions(plan: &Plan, report: &mut Report, fixture: &Fixture) {
    let Fixture { address, cookie, bare, bare_path, .. } = fixture;
    let rows = [
        ("a bare route with one indexed SELECT", bare, get(bare_path, "")),
        ("/get-session", address, get("/api/auth/get-session", cookie)),
        ("/token", address, get("/api/auth/token", cookie)),
    ];
    let mut samples: [Vec<Sample>; 3] = Default::default();
    for round in 1..=plan.rounds {
        eprintln!("sessions, round {round} of {}", plan.rounds);
        for ((_, address, request), samples) in rows.iter().zip(&mut samples) {
            let requests = vec![request.clone(); READERS];
            samples.push(measure(address, &requests, plan.millis).await);
        }
    }
    let named = rows.iter().zip(&samples).enumerate();
    let floor = |number| (number > 0).then_some(samples[0].as_slice());
    let rows = named.map(|(number, ((name, ..), samples))| {
        Row::of(&format!("{name}, {READERS} callers"), samples, floor(number))
    });
    report.table("Accounts: sessions", rows.collect());
    report.at_least("/get-session / a bare route", 0.7, share(&samples[1], &samples[0]));
}

impl Fixture {
    async fn start() -> Self {
        let (hsm, database) = tokio::join!(RunningHsm::start(), Database::create());
        let folder = tempfile::tempdir().expect("a folder");
        let url = folder.path().join("database.url");
        write_private(&url, &database.owner_url());
        let accounts = RunningService::start("accounts", folder.path(), &config(&hsm, &url)).await;
        let address = accounts.url.strip_prefix("http://").expect("http").to_owned();
        let mut caller = Caller::connect(&address).await;
        until("accounts is ready", async || caller.is_good(&get("/ready", "")).await).await;
        let mut sign_ins = Vec::new();
        let mut cookie = String::new();
        for number in 0..SIGN_INS {
            let email = format!("user-{number}@example.com");
            let user = format!(r#"{{"name":"User","email":"{email}","password":"correct horse"}}"#);
            let answer = caller.ask(&post("/api/auth/sign-up/email", &user)).await;
            let line = answer.lines().find_map(|line| line.strip_prefix("set-cookie: "));
            cookie = line.expect("a cookie").split(';').next().unwrap_or_default().to_owned();
            let body = format!(r#"{{"email":"{email}","password":"correct horse"}}"#);
            sign_ins.push(post("/api/auth/sign-in/email", &body));
        }
        let token = cookie.split(['=', '.']).nth(2).expect("a token");
        let bare_path = format!("/{token}");
        let mut command = Command::new(program("hsmd-test-select"));
        let piped = command.arg(&url).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = piped.spawn().expect("a process");
        let mut said = BufReader::new(process.stdout.take().expect("its output")).lines();
        let bare = said.next_line().await.expect("a line").expect("an address");
        Self {
            address,
            sign_ins,
            cookie,
            bare,
            bare_path,
            _bare: process,
            _accounts: accounts,
            _database: database,
            _hsm: hsm,
            _folder: folder,
        }
    }

    async fn sign_in_once(&self) {
        Caller::connect(&self.address).await.ask(&self.sign_ins[0]).await;
    }
}

/// The service's configuration: its defaults, and no limits.
fn config(hsm: &RunningHsm, url: &std::path::Path) -> String {
    let rate = "{ max = 1000000000, window = \"1s\" }";
    format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n\
         [site]\npublic_url = \"http://127.0.0.1:8031\"\n\
         [hsm]\nidentity = \"{}\"\nendpoint = \"{}\"\n\
         [database]\nurl_file = \"{}\"\n\
         [limits]\npath = {rate}\nsign_in = {rate}\nattempts = 1000000000\nrequests_per_second = 0\n",
        hsm.identity,
        hsm.endpoint(),
        url.display()
    )
}
