package node

import (
	"slices"
	"strings"
)

// envPrefix begins the name of every variable of ours.
const envPrefix = "PATINA_"

// readEnviron reads the variables of environ that override keys. PATINA_API and
// PATINA_TEST_… belong to others; so does every PATINA_ name without "__" that
// does not look like a mistyped one of ours, since orchestrators set some for a
// service of that name (PATINA_PORT).
func (r *configReader) readEnviron(environ []string) {
	given := map[string]string{} // the last of two equal names counts, as for os.Getenv
	var names []string
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || !strings.HasPrefix(name, envPrefix) || strings.HasPrefix(name, envPrefix+"TEST_") {
			continue
		}
		if _, again := given[name]; !again {
			names = append(names, name)
		}
		given[name] = value
	}
	slices.Sort(names)
	for _, name := range names {
		r.readVariable(name, given[name])
	}
}

func (r *configReader) readVariable(name, value string) {
	for i := range configKeys {
		if k := &configKeys[i]; envVariable(k.path) == name {
			v, problem := k.kind.parse(value)
			r.set(k, configOrigin{source: name}, v, problem)
			return
		}
	}
	if meant := nearestVariable(name); meant != "" || strings.Contains(name, "__") {
		r.report(configOrigin{source: plain(name)}, "", "unknown variable"+didYouMean(meant))
	}
}

// nearestVariable returns the variable that name was probably meant to be, or
// "". A name without "__" is only taken for one with single underscores.
func nearestVariable(name string) string {
	var known []string
	for _, k := range configKeys {
		v := envVariable(k.path)
		if strings.ReplaceAll(v, "__", "_") == strings.ReplaceAll(name, "__", "_") {
			return v
		}
		known = append(known, v)
	}
	if !strings.Contains(name, "__") {
		return ""
	}
	return nearest(name, known)
}
