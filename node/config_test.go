package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

const secret = "correct horse battery staple"

// mustParse parses text as the file c.yaml.
func mustParse(t *testing.T, text string, environ ...string) Config {
	t.Helper()
	c, err := parseConfig("c.yaml", []byte(text), environ)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigWithoutFileIsTheDefaults(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "db:\napi:\n", "{}", "db: {log: {}}"} {
		if c := mustParse(t, text); !reflect.DeepEqual(c, DefaultConfig()) {
			t.Errorf("%q: got %v", text, c)
		}
	}
	c, err := Load("", nil)
	if err != nil || !reflect.DeepEqual(c, DefaultConfig()) {
		t.Errorf("Load without a file: %v, %v", c, err)
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

// The example of the contract, which is not the defaults.
func TestConfigReadsEveryKey(t *testing.T) {
	got := mustParse(t, `
db:     {path: ./p.db, schema_paths: [./a, ./b.sql], max_clock_drift: 250ms, statement_timeout: 5s, query_max_age: 2m, max_wal_bytes: 16777217, log: {max_bytes: 268435457, max_age: 1h30m}}
api:    {addr: "0.0.0.0:80", advertise: "db.example:80", insecure: true, max_statements: 10, max_body_bytes: 4096}
gossip: {addr: "[::]:8787", advertise: "10.0.0.1:8787", bootstrap: ["127.0.0.1:8788", "seed.internal:8787"], cluster: prod-1, secret: `+secret+`, old_secret: the one before that, tls: {ca: ca.crt, cert: n.crt, key: n.key}, max_bytes_per_second: 65536}
log:    {level: debug, format: json}
`)
	want := Config{
		DB: DBConfig{Path: "./p.db", SchemaPaths: []string{"./a", "./b.sql"}, MaxClockDrift: 250 * time.Millisecond,
			StatementTimeout: 5 * time.Second, QueryMaxAge: 2 * time.Minute, MaxWALBytes: 16<<20 + 1,
			Log: DBLogConfig{MaxBytes: 268435457, MaxAge: 90 * time.Minute}},
		API: APIConfig{Addr: "0.0.0.0:80", Advertise: "db.example:80", Insecure: true, MaxStatements: 10, MaxBodyBytes: 4096},
		Gossip: GossipConfig{Addr: "[::]:8787", Advertise: "10.0.0.1:8787",
			Bootstrap: []string{"127.0.0.1:8788", "seed.internal:8787"}, Cluster: "prod-1", Secret: secret,
			OldSecret: "the one before that", TLS: TLSConfig{"ca.crt", "n.crt", "n.key"}, MaxBytesPerSecond: 64 << 10},
		Log: LogConfig{Level: "debug", Format: "json"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
	for _, k := range configKeys {
		if d := DefaultConfig(); sameSetting(k.at(&got), k.at(&d)) {
			t.Errorf("%s is at its default: the test does not show that it is read", k.path)
		}
	}
	if got.Log.SlogLevel() != slog.LevelDebug {
		t.Errorf("level is %v", got.Log.SlogLevel())
	}
}

func TestConfigKeepsAliasesAndEmptyLists(t *testing.T) {
	c := mustParse(t, "db: {schema_paths: []}\napi: {addr: &a '127.0.0.1:0'}\ngossip: {addr: *a}\n")
	if c.Gossip.Addr != "127.0.0.1:0" || c.API.Addr != "127.0.0.1:0" {
		t.Errorf("alias not followed: %v", c)
	}
	if c.DB.SchemaPaths == nil || len(c.WithDefaults().DB.SchemaPaths) != 0 {
		t.Error("an empty list became the default")
	}
}

func TestConfigEnvironmentOverridesTheFile(t *testing.T) {
	c := mustParse(t, "db: {path: file.db}\nlog: {level: warn}\n",
		"PATINA_DB__PATH=env.db", "PATINA_DB__LOG__MAX_AGE=24h", "PATINA_API__MAX_STATEMENTS=7", "PATINA_API__INSECURE=true",
		"PATINA_GOSSIP__BOOTSTRAP=10.0.0.1:1, 10.0.0.2:2", "PATINA_DB__SCHEMA_PATHS=",
		"PATINA_DB__PATH=last.db", "PATINA_GOSSIP__SECRET="+secret,
		// Not ours:
		"PATINA_API=127.0.0.1:1", "PATINA_TEST_CLOCK_OFFSET=1h", "PATINA_PORT=tcp://10.0.0.1:80", "HOME=/", "broken")
	if c.DB.Path != "last.db" || c.DB.Log.MaxAge != 24*time.Hour || c.API.MaxStatements != 7 || !c.API.Insecure ||
		c.Log.Level != "warn" || c.Gossip.Secret.Reveal() != secret {
		t.Errorf("got %v", c)
	}
	if !slices.Equal(c.Gossip.Bootstrap, []string{"10.0.0.1:1", "10.0.0.2:2"}) || c.DB.SchemaPaths == nil || len(c.DB.SchemaPaths) != 0 {
		t.Errorf("lists: %q %q", c.Gossip.Bootstrap, c.DB.SchemaPaths)
	}
}

func TestConfigMissingFileIsNamed(t *testing.T) {
	_, err := Load("no/such.yaml", nil)
	if !errors.Is(err, os.ErrNotExist) || err.Error() != "read configuration: open no/such.yaml: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

func TestConfigFileOfAnySizeIsBounded(t *testing.T) {
	path := t.TempDir() + "/big.yaml"
	if err := os.WriteFile(path, bytes.Repeat([]byte("#\n"), maxConfigBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, nil); err == nil || !strings.HasSuffix(err.Error(), "big.yaml holds more than 1048576 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestConfigNeverShowsTheSecret(t *testing.T) {
	c := DefaultConfig()
	c.Gossip.Secret = secret
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "config", c, "gossip", c.Gossip, "secret", c.Gossip.Secret)
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "config", c, "gossip", c.Gossip, "secret", c.Gossip.Secret)
	j, err := json.Marshal(c.Gossip)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(c.Gossip)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{log.String(), string(j), string(y), c.String(),
		fmt.Sprintf("%v %+v %#v %s", c.Gossip, c.Gossip, c.Gossip, c.Gossip.Secret)} {
		if strings.Contains(shown, secret) {
			t.Errorf("shown in %s", shown)
		}
		if !strings.Contains(shown, redacted) {
			t.Errorf("no stand-in in %s", shown)
		}
	}
}

func TestConfigDiffSeparatesLiveKeys(t *testing.T) {
	old, next := DefaultConfig(), DefaultConfig()
	next.DB.SchemaPaths = []string{"./other"}
	next.Gossip.Bootstrap = []string{"127.0.0.1:1"}
	next.Log.Level = "debug"
	next.DB.Path = "x.db"
	next.Gossip.Secret = secret
	next.API.MaxBodyBytes = 1 << 20
	changed, restart := old.Diff(next)
	if want := []string{"db.schema_paths", "gossip.bootstrap", "gossip.secret", "log.level"}; !slices.Equal(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
	if want := []string{"db.path", "api.max_body_bytes"}; !slices.Equal(restart, want) {
		t.Errorf("restart %q, want %q", restart, want)
	}
	now := old.Reloaded(next)
	if now.DB.Path != old.DB.Path || now.Log.Level != "debug" || now.Gossip.Bootstrap[0] != "127.0.0.1:1" {
		t.Errorf("reloaded: %v", now)
	}
	if changed, restart := old.Diff(old); changed != nil || restart != nil {
		t.Errorf("equal ones differ in %q %q", changed, restart)
	}
	if old.Log.Level != "info" {
		t.Error("Reloaded changed its receiver")
	}
}

func TestConfigZeroFieldsAreDefaults(t *testing.T) {
	if c := (Config{}).WithDefaults(); !reflect.DeepEqual(c, DefaultConfig()) {
		t.Errorf("got %v", c)
	}
	c := Config{DB: DBConfig{Path: "x", SchemaPaths: []string{}}}.WithDefaults()
	if c.DB.Path != "x" || len(c.DB.SchemaPaths) != 0 || c.API.MaxStatements != 1000 {
		t.Errorf("got %v", c)
	}
	if err := (Config{}).Validate(); err == nil {
		t.Error("a zero configuration passed Validate")
	}
}

// The reference at the root repeats the defaults: every key, none else, equal.
func TestReferenceFileIsTheDefaults(t *testing.T) {
	data, err := os.ReadFile("../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if problems := referenceProblems(data); problems != nil {
		t.Errorf("config.yaml:\n%s", strings.Join(problems, "\n"))
	}
	for _, bad := range []struct{ desc, from, to, want string }{
		{"a missing key", "  max_statements: 1000\n", "", "api.max_statements: missing"},
		{"another value", "max_age: 87600h", "max_age: 71h", "db.log.max_age: 71h0m0s, the default is 87600h0m0s"},
		{"an unknown key", "\nlog:\n", "\nlog:\n  lvl: info\n", "c.yaml:"},
		{"a key without its comment", "  # What is logged: debug, info, warn or error. Row data only at debug. Live.\n  # Default info.\n",
			"", "log.level: no comment with its default"},
		{"a live key not called so", "learned from it. Live. Default [],", "learned from it. Default [],", "gossip.bootstrap: whether it is live"},
	} {
		text := strings.Replace(string(data), bad.from, bad.to, 1)
		if text == string(data) {
			t.Fatalf("%s: config.yaml no longer has %q", bad.desc, bad.from)
		}
		if got := strings.Join(referenceProblems([]byte(text)), "\n"); !strings.Contains(got, bad.want) {
			t.Errorf("%s: got %q, want %q", bad.desc, got, bad.want)
		}
	}
}

// referenceProblems compares the text of config.yaml with the defaults.
func referenceProblems(data []byte) (problems []string) {
	r := newConfigReader("c.yaml")
	r.readFile(data)
	if err := r.err(); err != nil {
		return []string{err.Error()}
	}
	comments := map[string]string{}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return []string{err.Error()}
	}
	collectComments(doc.Content[0], "", comments)
	d := DefaultConfig()
	for _, k := range configKeys {
		if _, ok := r.origins[k.path]; !ok {
			problems = append(problems, k.path+": missing")
			continue
		}
		if !sameSetting(k.at(&r.cfg), k.at(&d)) {
			problems = append(problems, fmt.Sprintf("%s: %s, the default is %s", k.path, showField(k.at(&r.cfg)), showField(k.at(&d))))
		}
		// Comments are wrapped: join the lines.
		comment := strings.Join(strings.Fields(strings.ReplaceAll(comments[k.path], "#", " ")), " ")
		if !strings.Contains(comment, "Default ") {
			problems = append(problems, k.path+": no comment with its default")
		}
		if strings.Contains(comment, "Live.") != k.live {
			problems = append(problems, k.path+": whether it is live is told wrong")
		}
	}
	return problems
}

// collectComments gathers the comment above each key, by path.
func collectComments(n *yaml.Node, path string, into map[string]string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		full := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
		into[full] = n.Content[i].HeadComment
		collectComments(n.Content[i+1], full, into)
	}
}
