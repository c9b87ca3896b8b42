package node

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patinadb/patina/transport"
)

// configKey is one setting. The table configKeys is the only list of them: files,
// environment, defaults, comparison and printing all go through it.
type configKey struct {
	path string            // as in the YAML, sections joined by dots
	live bool              // a running node takes a new value
	kind configKind        // what it may be
	at   func(*Config) any // pointer to the field: one of the types of assignField
}

// configKeys lists every setting in the order of config.yaml.
var configKeys = []configKey{
	{"db.path", false, textKind{"a file path", checkPath},
		func(c *Config) any { return &c.DB.Path }},
	{"db.schema_paths", true, listKind{"file or folder paths", checkPath},
		func(c *Config) any { return &c.DB.SchemaPaths }},
	{"db.max_clock_drift", false, durationKind{time.Millisecond, time.Hour},
		func(c *Config) any { return &c.DB.MaxClockDrift }},
	{"db.statement_timeout", false, durationKind{10 * time.Millisecond, time.Hour},
		func(c *Config) any { return &c.DB.StatementTimeout }},
	{"db.query_max_age", false, durationKind{100 * time.Millisecond, 24 * time.Hour},
		func(c *Config) any { return &c.DB.QueryMaxAge }},
	{"db.max_wal_bytes", false, numberKind{16 << 20, 1 << 40},
		func(c *Config) any { return &c.DB.MaxWALBytes }},
	{"db.log.max_bytes", false, numberKind{1 << 20, 1 << 50},
		func(c *Config) any { return &c.DB.Log.MaxBytes }},
	{"db.log.max_age", false, durationKind{time.Minute, 10 * 365 * 24 * time.Hour},
		func(c *Config) any { return &c.DB.Log.MaxAge }},

	{"api.addr", false, textKind{"host:port", checkListen},
		func(c *Config) any { return &c.API.Addr }},
	{"api.advertise", false, textKind{"host:port or nothing", optional(checkRemote)},
		func(c *Config) any { return &c.API.Advertise }},
	{"api.insecure", false, boolKind{},
		func(c *Config) any { return &c.API.Insecure }},
	{"api.max_statements", false, numberKind{1, 100_000},
		func(c *Config) any { return &c.API.MaxStatements }},
	{"api.max_body_bytes", false, numberKind{1 << 10, 64 << 20},
		func(c *Config) any { return &c.API.MaxBodyBytes }},

	{"gossip.addr", false, textKind{"host:port", checkListen},
		func(c *Config) any { return &c.Gossip.Addr }},
	{"gossip.advertise", false, textKind{"host:port or nothing", optional(checkRemote)},
		func(c *Config) any { return &c.Gossip.Advertise }},
	{"gossip.bootstrap", true, listKind{"host:port", checkRemote},
		func(c *Config) any { return &c.Gossip.Bootstrap }},
	{"gossip.cluster", false, textKind{"a name", CheckCluster},
		func(c *Config) any { return &c.Gossip.Cluster }},
	{"gossip.secret", true, secretKind{},
		func(c *Config) any { return &c.Gossip.Secret }},
	{"gossip.old_secret", true, secretKind{},
		func(c *Config) any { return &c.Gossip.OldSecret }},
	{"gossip.tls.ca", true, textKind{"a file path or nothing", optional(checkPath)},
		func(c *Config) any { return &c.Gossip.TLS.CA }},
	{"gossip.tls.cert", true, textKind{"a file path or nothing", optional(checkPath)},
		func(c *Config) any { return &c.Gossip.TLS.Cert }},
	{"gossip.tls.key", true, textKind{"a file path or nothing", optional(checkPath)},
		func(c *Config) any { return &c.Gossip.TLS.Key }},
	{"gossip.max_bytes_per_second", true, zeroOrKind{numberKind{transport.MinBytesPerSecond, 1 << 40}},
		func(c *Config) any { return &c.Gossip.MaxBytesPerSecond }},

	{"log.level", true, choiceKind{"debug", "info", "warn", "error"},
		func(c *Config) any { return &c.Log.Level }},
	{"log.format", false, choiceKind{"text", "json"},
		func(c *Config) any { return &c.Log.Format }},
}

// findKey returns the key at path, or nil.
func findKey(path string) *configKey {
	i := slices.IndexFunc(configKeys, func(k configKey) bool { return k.path == path })
	if i < 0 {
		return nil
	}
	return &configKeys[i]
}

// isSection reports whether keys lie below path.
func isSection(path string) bool {
	return slices.ContainsFunc(configKeys, func(k configKey) bool { return strings.HasPrefix(k.path, path+".") })
}

// keysUnder returns the names directly below a section ("" is the root), in the
// order of the table.
func keysUnder(section string) []string {
	var names []string
	for _, k := range configKeys {
		rest := k.path
		if section != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(k.path, section+"."); !ok {
				continue
			}
		}
		name, _, _ := strings.Cut(rest, ".")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// envVariable returns the environment variable that overrides the key at path.
func envVariable(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "__"))
}

// assignField stores v, which a kind returned, in the field that p points to.
func assignField(p, v any) {
	switch p := p.(type) {
	case *string:
		*p = v.(string)
	case *Secret:
		*p = Secret(v.(string))
	case *bool:
		*p = v.(bool)
	case *int:
		*p = int(v.(int64))
	case *int64:
		*p = v.(int64)
	case *time.Duration:
		*p = v.(time.Duration)
	case *[]string:
		*p = slices.Clone(v.([]string))
	default:
		panic(fmt.Sprintf("node: no setting has the type %T", p))
	}
}

// loadField is the inverse of assignField: the value in the field that p points to.
func loadField(p any) any {
	switch p := p.(type) {
	case *string:
		return *p
	case *Secret:
		return p.Reveal()
	case *bool:
		return *p
	case *int:
		return int64(*p)
	case *int64:
		return *p
	case *time.Duration:
		return *p
	case *[]string:
		return *p
	}
	panic(fmt.Sprintf("node: no setting has the type %T", p))
}

// isZero reports whether the field that p points to was left out. An empty list
// that is not nil was given.
func isZero(p any) bool {
	switch v := loadField(p).(type) {
	case string:
		return v == ""
	case bool:
		return !v
	case int64:
		return v == 0
	case time.Duration:
		return v == 0
	case []string:
		return v == nil
	}
	return false
}

// sameSetting compares two fields of one key; a nil and an empty list are equal.
func sameSetting(p, q any) bool {
	v, w := loadField(p), loadField(q)
	if list, ok := v.([]string); ok {
		return slices.Equal(list, w.([]string))
	}
	return v == w
}

// showField prints the field that p points to in the form of an environment
// variable; a secret is redacted.
func showField(p any) string {
	if s, ok := p.(*Secret); ok {
		return s.String()
	}
	return asText(loadField(p))
}

// asText prints a value in the form that configKind.parse reads.
func asText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case []string:
		return strings.Join(v, ",")
	}
	return fmt.Sprint(v)
}
