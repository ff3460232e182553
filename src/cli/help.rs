//! What `--help` says beyond the flags: examples, the environment, exit codes.

pub(super) const ABOUT: &str =
    "Watches PostgreSQL: metrics for Prometheus, and the server's log for Grafana Loki";

pub(super) const LONG_ABOUT: &str = "\
Watches PostgreSQL. One agent answers Prometheus with what SQL query packs measure, and carries the
server's log to Grafana Loki, keeping every record for as long as you ask.

It needs a role that is a member of pg_monitor, and nothing else on the server.";

pub(super) const AFTER: &str = "\
Examples:
  DATA_SOURCE_NAME=postgresql://pgvigil@db1/postgres pgvigil run
  pgvigil run --config /etc/pgvigil/pgvigil.yaml
  pgvigil run --logs '/var/log/postgresql/*.log' --loki http://loki:3100
  pgvigil check --config /etc/pgvigil/pgvigil.yaml

Exit codes:
  0   done
  64  wrong use of the command line
  69  something that is needed does not answer
  70  a fault of the program
  78  the configuration can't be run with

Passwords never stand on the command line, where every user of the machine could read them: use
password_file, a password file (PGPASSFILE), or the environment.";

pub(super) const RUN_AFTER: &str = "\
Without --config, one instance is watched:
  DATA_SOURCE_NAME                        a connection string, as a URI or as keyword=value pairs
  DATA_SOURCE_URI, DATA_SOURCE_USER, DATA_SOURCE_PASS
                                          HOST:PORT/DATABASE?OPTIONS, the role, its password
  DATA_SOURCE_…_FILE                      the same, each from a file
  PGHOST, PGPORT, PGUSER, PGPASSFILE …    libpq's variables, where none of the above is set
With --config, libpq's variables only fill what a `dsn` leaves open.

Other environment variables (a flag outranks them, they outrank the file):
  PGVIGIL_CONFIG, PGVIGIL_LISTEN, PGVIGIL_LOGS, PGVIGIL_LOKI, PGVIGIL_STATE_DIRECTORY, PGVIGIL_LOG
  STATE_DIRECTORY                         the default of --state-directory; systemd sets it

Signals: TERM and INT stop the agent in good order, HUP reads the configuration again.";

pub(super) const CHECK_AFTER: &str = "\
Every problem is one line on stdout, FILE:LINE:COLUMN: what is wrong; what to do

Exits 0 when nothing fatal is found, 78 when the configuration can't be run with, 69 when it can but
something that it needs does not answer.";

pub(super) const QUERY_AFTER: &str = "\
Examples:
  pgvigil query pg_locks --dsn 'host=/var/run/postgresql user=postgres'
  pgvigil query ./my-queries.yaml --config /etc/pgvigil/pgvigil.yaml --instance shop-1

The exposition is on stdout, all else on stderr. Exits 0 when the server answered and the files
loaded, even where queries failed; with --strict, 69 when one failed.";

pub(super) const EXPORT_AFTER: &str = "\
Examples:
  pgvigil export grants --config pgvigil.yaml | psql -U postgres -h db1 -d postgres
  pgvigil export dashboards --config pgvigil.yaml --to /var/lib/grafana/dashboards
  pgvigil export loki-retention --config pgvigil.yaml

No password is ever printed.";

pub(super) const PARSE_AFTER: &str = "\
Examples:
  pgvigil logs parse --line-prefix '%m [%p] %q%u@%d ' /var/log/postgresql/postgresql-17-main.log
  docker logs pg 2>&1 | pgvigil logs parse -
  pgvigil logs parse --input-format csv --redact literals --format json log/postgresql-Mon.csv

To try masks and filters on a sample before they go into a configuration, or as they stand there:
  pgvigil logs parse --pattern '\\b\\d{4}-\\d{4}\\b' sample.log
  pgvigil logs parse --config pgvigil.yaml --route developer sample.log

Records are on stdout; on stderr stands for each file how many there were, what was masked, and which
log_line_prefix its lines look like. Nothing is sent, and no server is asked.";

pub(super) const CAT_AFTER: &str = "\
Examples:
  pgvigil logs cat --since 1h --severity error
  pgvigil logs cat --config /etc/pgvigil/pgvigil.yaml --route developer --database shop";
