package node

import (
	"errors"
	"strings"
	"testing"
)

// refusedFiles is every class of refusal, with the whole text that the start
// prints.
var refusedFiles = []struct{ desc, text, want string }{
	{"unknown key, near one", "db:\n  pth: x\n",
		"c.yaml:2: db.pth: unknown key; did you mean db.path?"},
	{"unknown key, right name in the wrong section", "db:\n  bootstrap: []\n",
		"c.yaml:2: db.bootstrap: unknown key; did you mean gossip.bootstrap?"},
	{"unknown key at the top that belongs below", "path: x\n",
		"c.yaml:1: path: unknown key; did you mean db.path?"},
	{"unknown key like nothing", "db:\n  zzzzzzzzzz: 1\n",
		"c.yaml:2: db.zzzzzzzzzz: unknown key; db has path, schema_paths, max_clock_drift, statement_timeout, query_max_age, max_wal_bytes, log"},
	{"unknown section, near one", "gosip: {}\n",
		"c.yaml:1: gosip: unknown key; did you mean gossip?"},
	{"unknown section like nothing", "telemetry: {}\n",
		"c.yaml:1: telemetry: unknown key; the sections are db, api, gossip, log"},
	{"unknown key of many lines", "\"ab\\ncd\": 1\n",
		`c.yaml:1: "ab\ncd": unknown key; the sections are db, api, gossip, log`},
	{"merge keys are unknown", "db: {<<: {path: x}}\n",
		"c.yaml:1: db.<<: unknown key; db has path, schema_paths, max_clock_drift, statement_timeout, query_max_age, max_wal_bytes, log"},
	{"key given twice", "db:\n  path: a\n  path: b\n",
		"c.yaml:3: db.path: given twice, first on line 2"},
	{"section given twice", "log: {}\nlog: {}\n",
		"c.yaml:2: log: given twice, first on line 1"},
	{"section that is text", "db: x.db\n",
		`c.yaml:1: db: want a section with the keys path, schema_paths, max_clock_drift, statement_timeout, query_max_age, max_wal_bytes, log, got the text "x.db"`},
	{"whole file is a list", "- db\n",
		"c.yaml:1: want a section with the keys db, api, gossip, log, got a list"},
	{"section inside itself", "db: &a\n  log: *a\n",
		"c.yaml:2: db.log.log: unknown key; db.log has max_bytes, max_age"},
	{"broken YAML", "db:\n  path: [\n",
		"c.yaml:2: not YAML: did not find expected node content"},
	{"second document", "db: {}\n---\napi: {}\n",
		"c.yaml:2: want one YAML document, got a second"},

	{"number for text", "gossip:\n  cluster: 12\n",
		"c.yaml:2: gossip.cluster: want a name, got 12; put it in quotes"},
	{"nothing for text", "db:\n  path:\n",
		"c.yaml:2: db.path: want a file path, got nothing"},
	{"section for text", "db: {path: {a: b}}\n",
		"c.yaml:1: db.path: want a file path, got a section"},
	{"empty path", "db: {path: ''}\n",
		"c.yaml:1: db.path: a path cannot be empty"},
	{"memory database", "db: {path: ':memory:'}\n",
		`c.yaml:1: db.path: ":memory:" is no file path`},
	{"bad cluster name", "gossip: {cluster: 'a b'}\n",
		`c.yaml:1: gossip.cluster: "a b" is no cluster name: allowed are 1 to 64 of A-Z a-z 0-9 . _ -, beginning and ending with a letter or digit, without two dots in a row`},
	{"cluster name that no certificate can carry", "gossip: {cluster: 'a..b'}\n",
		`c.yaml:1: gossip.cluster: "a..b" is no cluster name: allowed are 1 to 64 of A-Z a-z 0-9 . _ -, beginning and ending with a letter or digit, without two dots in a row`},

	{"text for a number", "api:\n  max_statements: many\n",
		`c.yaml:2: api.max_statements: want a whole number from 1 to 100000, got the text "many"`},
	{"unit on a number", "api: {max_body_bytes: 4MiB}\n",
		`c.yaml:1: api.max_body_bytes: want a whole number from 1024 to 67108864, got the text "4MiB"`},
	{"fraction", "api: {max_statements: 1.5}\n",
		"c.yaml:1: api.max_statements: want a whole number from 1 to 100000, got 1.5"},
	{"number out of range", "api: {max_statements: 0}\n",
		"c.yaml:1: api.max_statements: 0 is out of range: allowed are 1 to 100000"},
	{"number beyond 64 bits", "db: {log: {max_bytes: 18446744073709551615}}\n",
		"c.yaml:1: db.log.max_bytes: 18446744073709551615 is out of range: allowed are 1048576 to 1125899906842624"},

	{"duration without its unit", "db: {max_clock_drift: 500}\n",
		"c.yaml:1: db.max_clock_drift: want a duration from 1ms to 1h with its unit, such as 500ms or 72h, got 500"},
	{"no duration", "db: {max_clock_drift: soon}\n",
		`c.yaml:1: db.max_clock_drift: want a duration from 1ms to 1h with its unit, such as 500ms or 72h, got "soon"`},
	{"duration out of range", "db: {max_clock_drift: 2h}\n",
		"c.yaml:1: db.max_clock_drift: 2h is out of range: allowed are 1ms to 1h"},
	{"negative duration", "db: {query_max_age: -1s}\n",
		"c.yaml:1: db.query_max_age: -1s is out of range: allowed are 100ms to 24h"},

	{"yes is not true", "api: {insecure: yes}\n",
		`c.yaml:1: api.insecure: want true or false, got the text "yes"`},
	{"True is not true", "api: {insecure: True}\n",
		`c.yaml:1: api.insecure: want true or false, got "True"`},
	{"unknown choice, near one", "log: {level: wran}\n",
		`c.yaml:1: log.level: "wran" is not one of debug, info, warn, error; did you mean warn?`},
	{"unknown choice", "log: {format: 1}\n",
		"c.yaml:1: log.format: want one of text, json, got 1"},

	{"text for a list", "gossip: {bootstrap: '10.0.0.1:1'}\n",
		`c.yaml:1: gossip.bootstrap: want a list of host:port, such as [a, b] or [], got the text "10.0.0.1:1"`},
	{"number in a list", "db:\n  schema_paths:\n    - a\n    - 7\n",
		"c.yaml:2: db.schema_paths: element 2 on line 4: want text, got 7; put it in quotes"},
	{"bad element of a list", "gossip: {bootstrap: ['10.0.0.1:1', '10.0.0.1']}\n",
		`c.yaml:1: gossip.bootstrap: element 2: want host:port, such as 127.0.0.1:8787 or [::1]:8787, got "10.0.0.1"`},
	{"too many elements", "gossip: {bootstrap: [" + strings.Repeat("'a:1',", 257) + "]}\n",
		"c.yaml:1: gossip.bootstrap: 257 elements are out of range: allowed are 0 to 256"},

	{"port 0 to dial", "gossip: {bootstrap: ['a:0']}\n",
		`c.yaml:1: gossip.bootstrap: element 1: port "0" of "a:0" is out of range: allowed are 1 to 65535`},
	{"port too high", "api: {addr: '127.0.0.1:65536'}\n",
		`c.yaml:1: api.addr: port "65536" of "127.0.0.1:65536" is out of range: allowed are 0 to 65535`},
	{"port by name", "api: {addr: '127.0.0.1:http'}\n",
		`c.yaml:1: api.addr: port "http" of "127.0.0.1:http" is out of range: allowed are 0 to 65535`},
	{"advertise without a host", "gossip: {advertise: '0.0.0.0:1'}\n",
		`c.yaml:1: gossip.advertise: "0.0.0.0:1" cannot be dialled: it names no host`},
	{"advertise a URL", "api: {advertise: 'http://a:1'}\n",
		`c.yaml:1: api.advertise: want host:port, such as 127.0.0.1:8787 or [::1]:8787, got "http://a:1"`},

	{"API off loopback", "\n\napi: {addr: ':8080'}\n",
		`c.yaml:3: api.addr: ":8080" is not a loopback address, and nothing authenticates clients: set api.insecure to true if the network around it is trusted`},
	{"mesh off loopback", "gossip: {addr: '10.0.0.1:8787'}\n",
		`c.yaml:1: gossip.addr: "10.0.0.1:8787" is not a loopback address, and without gossip.secret or gossip.tls anyone could join: set gossip.secret to the same 16 or more characters on every node`},
	{"secret too short", "gossip: {secret: hunter2}\n",
		"c.yaml:1: gossip.secret: 7 characters are out of range: allowed are 16 to 256, or none"},
	{"secret that is a number", "gossip: {secret: 12345678901234567}\n",
		"c.yaml:1: gossip.secret: want text of 16 to 256 characters, or nothing in quotes; put it in quotes"},
	{"old secret alone", "gossip:\n  old_secret: hunter2hunter2hunter2\n",
		"c.yaml:2: gossip.old_secret: is set without gossip.secret, which replaces it"},
	{"certificate without key", "gossip: {addr: '10.0.0.1:8787', tls: {ca: a, cert: b}}\n",
		"gossip.tls.key: is missing: gossip.tls needs ca, cert and key"},
	{"budget too small", "gossip: {max_bytes_per_second: 65535}\n",
		"c.yaml:1: gossip.max_bytes_per_second: 65535 is out of range: allowed are 65536 to 1099511627776, or 0"},
	{"several at once", "db: {pth: 1}\nlog: {level: x}\n",
		"c.yaml:1: db.pth: unknown key; did you mean db.path?\n" + `c.yaml:2: log.level: "x" is not one of debug, info, warn, error`},
}

func TestConfigProblemsAreNamed(t *testing.T) {
	for _, c := range refusedFiles {
		_, err := parseConfig("c.yaml", []byte(c.text), nil)
		checkProblem(t, c.desc, err, c.want)
	}
}

func TestConfigProblemsOfVariablesAreNamed(t *testing.T) {
	for _, c := range []struct{ desc, entry, want string }{
		{"unknown, near one", "PATINA_DB__PTH=x",
			"PATINA_DB__PTH: unknown variable; did you mean PATINA_DB__PATH?"},
		{"unknown, like nothing", "PATINA_FOO__BAR=x",
			"PATINA_FOO__BAR: unknown variable"},
		{"single underscores", "PATINA_DB_LOG_MAX_AGE=1h",
			"PATINA_DB_LOG_MAX_AGE: unknown variable; did you mean PATINA_DB__LOG__MAX_AGE?"},
		{"number", "PATINA_API__MAX_STATEMENTS=many",
			`PATINA_API__MAX_STATEMENTS: api.max_statements: want a whole number from 1 to 100000, got "many"`},
		{"number beyond 64 bits", "PATINA_API__MAX_STATEMENTS=99999999999999999999",
			"PATINA_API__MAX_STATEMENTS: api.max_statements: 9223372036854775807 is out of range: allowed are 1 to 100000"},
		{"boolean", "PATINA_API__INSECURE=1",
			`PATINA_API__INSECURE: api.insecure: want true or false, got "1"`},
		{"empty element", "PATINA_GOSSIP__BOOTSTRAP=a:1,,b:1",
			`PATINA_GOSSIP__BOOTSTRAP: gossip.bootstrap: element 2: want host:port, such as 127.0.0.1:8787 or [::1]:8787, got ""`},
		{"empty path", "PATINA_DB__PATH=",
			"PATINA_DB__PATH: db.path: a path cannot be empty"},
		{"off loopback", "PATINA_API__ADDR=0.0.0.0:80",
			`PATINA_API__ADDR: api.addr: "0.0.0.0:80" is not a loopback address, and nothing authenticates clients: set api.insecure to true if the network around it is trusted`},
		{"secret", "PATINA_GOSSIP__SECRET=hunter2",
			"PATINA_GOSSIP__SECRET: gossip.secret: 7 characters are out of range: allowed are 16 to 256, or none"},
	} {
		_, err := parseConfig("", nil, []string{c.entry})
		checkProblem(t, c.desc, err, c.want)
	}
}

// A refused value is not judged a second time together with others.
func TestConfigProblemsDoNotCascade(t *testing.T) {
	_, err := parseConfig("c.yaml", []byte("api: {addr: ':80', insecure: 1}\ngossip: {addr: ':80', secret: short}\n"), nil)
	checkProblem(t, "cascade", err, "c.yaml:1: api.insecure: want true or false, got 1\n"+
		"c.yaml:2: gossip.secret: 5 characters are out of range: allowed are 16 to 256, or none")
}

func TestConfigLoopbackNeedsNothing(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "127.9.9.9:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"} {
		if _, err := parseConfig("", nil, []string{"PATINA_API__ADDR=" + addr, "PATINA_GOSSIP__ADDR=" + addr}); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{":1", "[::]:1", "0.0.0.0:1", "10.0.0.1:1", "localhost.example:1"} {
		if _, err := parseConfig("", nil, []string{"PATINA_GOSSIP__ADDR=" + addr}); err == nil {
			t.Errorf("%s passed without a secret", addr)
		}
		if _, err := parseConfig("", nil, []string{"PATINA_GOSSIP__ADDR=" + addr, "PATINA_GOSSIP__SECRET=" + secret}); err != nil {
			t.Errorf("%s with a secret: %v", addr, err)
		}
	}
}

func TestConfigInCodeIsCheckedAlike(t *testing.T) {
	c := DefaultConfig()
	c.API.MaxStatements = -1
	c.Gossip.Addr = "10.0.0.1:1"
	checkProblem(t, "in code", c.Validate(), "api.max_statements: -1 is out of range: allowed are 1 to 100000\n"+
		`gossip.addr: "10.0.0.1:1" is not a loopback address, and without gossip.secret or gossip.tls anyone could join: set gossip.secret to the same 16 or more characters on every node`)
}

func checkProblem(t *testing.T, desc string, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", desc)
		return
	}
	var problem *ConfigError
	if !errors.As(err, &problem) {
		t.Errorf("%s: %T is no *ConfigError", desc, err)
	}
	if err.Error() != want {
		t.Errorf("%s:\n got %s\nwant %s", desc, err, want)
	}
}

// Whatever the input, Load ends with problems that have a place, or with
// settings that pass Validate and survive a trip through the environment.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("db: {path: a.db, log: {max_age: 1h}}\n"), "PATINA_DB__PATH", "b.db")
	f.Add([]byte("db: &a {log: *a}\n"), "PATINA_DB__PTH", "")
	f.Add([]byte("gossip: {secret: hunter2hunter2}\n---\n"), "PATINA_GOSSIP__BOOTSTRAP", "a:1,b:2")
	f.Add([]byte("a: &a [*a]\n? [x]\n: y\n"), "PATINA_API__MAX_STATEMENTS", "12")
	f.Fuzz(func(t *testing.T, data []byte, name, value string) {
		c, err := parseConfig("f.yaml", data, []string{name + "=" + value})
		if err != nil {
			problems := 1
			if joined, ok := err.(interface{ Unwrap() []error }); ok {
				problems = len(joined.Unwrap())
			}
			if n := strings.Count(err.Error(), "\n") + 1; n != problems {
				t.Errorf("%d problems in %d lines: %q", problems, n, err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("loaded and refused: %v", err)
		}
		var environ []string
		for _, k := range configKeys {
			if list, ok := loadField(k.at(&c)).([]string); ok && strings.ContainsAny(strings.Join(list, ""), ", \t\n\v\f\r\u0085\u00a0") {
				return // no form as a variable
			}
			environ = append(environ, envVariable(k.path)+"="+asText(loadField(k.at(&c))))
		}
		again, err := parseConfig("", nil, environ)
		if err != nil {
			t.Fatalf("%v\nfrom %q", err, environ)
		}
		if changed, restart := c.Diff(again); changed != nil || restart != nil {
			t.Fatalf("a trip through the environment changed %q %q", changed, restart)
		}
	})
}
