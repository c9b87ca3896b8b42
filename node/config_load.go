package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxConfigBytes bounds a configuration file.
const maxConfigBytes = 1 << 20

// ConfigError is one setting that a node refuses to start with.
type ConfigError struct {
	Source  string // the file or the environment variable; empty: set in code, or a default
	Line    int    // in the file; 0: none
	Key     string // db.log.max_bytes; empty: the whole file
	Problem string // what is wrong, what is allowed, and what may have been meant
}

// Error returns "file:line: key: problem", without the parts that are unknown.
func (e *ConfigError) Error() string {
	var b strings.Builder
	if e.Source != "" {
		b.WriteString(e.Source)
		if e.Line > 0 {
			b.WriteString(":" + strconv.Itoa(e.Line))
		}
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	return b.String()
}

// Load reads the YAML file at path ("" is none), then the variables of environ
// ("NAME=value", as os.Environ returns them), over the defaults. It reports
// every problem at once, joined, one to a line; each is a *ConfigError, but for
// a file that cannot be read.
func Load(path string, environ []string) (Config, error) {
	var data []byte
	if path != "" {
		var err error
		if data, err = readBounded(path, maxConfigBytes); err != nil {
			return Config{}, fmt.Errorf("read configuration: %w", err)
		}
	}
	return parseConfig(path, data, environ)
}

// readBounded reads the file at path, which may not hold more than limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s holds more than %d bytes", path, limit)
	}
	return data, nil
}

// parseConfig is Load with the file's contents in hand.
func parseConfig(file string, data []byte, environ []string) (Config, error) {
	r := newConfigReader(file)
	r.readFile(data)
	r.readEnviron(environ)
	r.crossCheck()
	if err := r.err(); err != nil {
		return Config{}, err
	}
	return r.cfg, nil
}

// configOrigin is where a setting was given.
type configOrigin struct {
	source string
	line   int
}

// configReader collects settings and problems. Later sources replace earlier ones.
type configReader struct {
	cfg      Config
	file     string
	origins  map[string]configOrigin // by key path; absent: the default
	bad      map[string]bool         // key paths whose value was refused
	problems []error
}

func newConfigReader(file string) *configReader {
	return &configReader{cfg: DefaultConfig(), file: file, origins: map[string]configOrigin{}}
}

func (r *configReader) err() error { return errors.Join(r.problems...) }

func (r *configReader) report(o configOrigin, path, problem string) {
	if r.bad == nil {
		r.bad = map[string]bool{}
	}
	r.bad[path] = true
	r.problems = append(r.problems, &ConfigError{Source: o.source, Line: o.line, Key: plain(path), Problem: problem})
}

// set stores v unless there was a problem with it.
func (r *configReader) set(k *configKey, o configOrigin, v any, problem string) {
	if problem != "" {
		r.report(o, k.path, problem)
		return
	}
	assignField(k.at(&r.cfg), v)
	r.origins[k.path] = o
}

// readFile reads one YAML document. None, or only comments, is no setting.
func (r *configReader) readFile(data []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return
	case err != nil:
		r.syntax(err)
		return
	}
	r.section(doc.Content[0], "")
	switch err := dec.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.syntax(err)
	default:
		r.report(r.at(&more), "", "want one YAML document, got a second")
	}
}

// syntax reports what yaml says of broken text, its line moved to our place.
func (r *configReader) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	o := configOrigin{source: r.file}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if line, what, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(line); err == nil {
				o.line, text = n, what
			}
		}
	}
	r.report(o, "", "not YAML: "+text)
}

func (r *configReader) at(n *yaml.Node) configOrigin {
	return configOrigin{source: r.file, line: n.Line}
}

// followAlias follows an alias to what it stands for.
func followAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// section reads the keys below path ("" is the root). It descends only along
// sections of the table, so an alias to an enclosing node ends it.
func (r *configReader) section(n *yaml.Node, path string) {
	n = followAlias(n)
	if n.Kind == yaml.ScalarNode && n.ShortTag() == tagNull {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.report(r.at(n), path, fmt.Sprintf("want a section with the keys %s, got %s",
			strings.Join(keysUnder(path), ", "), describe(n)))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := followAlias(n.Content[i]), followAlias(n.Content[i+1])
		full := name.Value
		if path != "" {
			full = path + "." + name.Value
		}
		if line, ok := seen[name.Value]; ok {
			r.report(r.at(n.Content[i]), full, fmt.Sprintf("given twice, first on line %d", line))
			continue
		}
		seen[name.Value] = n.Content[i].Line
		r.entry(n.Content[i], value, full)
	}
}

// entry reads one key of a section and what it holds.
func (r *configReader) entry(name, value *yaml.Node, path string) {
	if k := findKey(path); k != nil {
		v, problem := k.kind.decode(value)
		r.set(k, r.at(name), v, problem)
		return
	}
	if isSection(path) {
		r.section(value, path)
		return
	}
	r.report(r.at(name), path, "unknown key"+didYouMeanKey(path))
}
