//! The daemon's program: arguments, configuration, telemetry, then one command.

use std::process::ExitCode;

use hsmd::{Arguments, Command, CommandError, Config, run, say, start_telemetry};
use hsmd_support::{chain, cli};

/// For the PKCS#11 module as well, which makes and frees dozens of numbers for each signature
/// (docs/performance.md). Not where tests kill the daemon and set its clock: libfaketime asks for memory
/// before this allocator can give any, and both die of it.
#[cfg(not(feature = "failpoints"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of a start that is refused until a person has changed something, as EX_DATAERR in
/// sysexits.h: systemd does not try again.
const REFUSED: u8 = 65;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    hsmd::arm_failpoints();
    let arguments: Arguments = match cli::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let is_serve = matches!(arguments.command, Command::Serve { .. });
    let config = Config::load(&arguments.config);
    let is_pair = config.as_ref().is_ok_and(|config| config.standby);
    match config.map_err(CommandError::from).and_then(|config| start(config, arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("hsmd: {}", chain(&error)));
            ExitCode::from(match error {
                CommandError::Config(_) | CommandError::LogFilter(_) | CommandError::Traces(_) => {
                    cli::USAGE
                }
                CommandError::Start(error) if is_serve && error.stays(is_pair) => REFUSED,
                _ => 1,
            })
        }
    }
}

fn start(config: Config, arguments: Arguments) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One: the token's thread is the other that works, and each reply that crosses to a third
        // thread costs a wake-up (docs/performance.md).
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)?;
    let _context = runtime.enter();
    let _telemetry = start_telemetry(&config.log, config.trace.as_ref())?;
    runtime.block_on(run(config, arguments))
}
