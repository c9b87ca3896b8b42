package store

import "strings"

// desiredSchema runs the files, in their order, in a private database and
// introspects what they made. An error is a *SchemaError that names the place.
func desiredSchema(files []SchemaFile) (*schema, error) {
	c, err := openPrivate()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	places := map[string]schemaPlace{}
	for _, f := range files {
		if err := runSchemaFile(&schemaScript{conn: c, sql: f.SQL}, f.Name, places); err != nil {
			return nil, err
		}
	}
	r, err := newIntrospector(c)
	if err != nil {
		return nil, err
	}
	defer r.close()
	return r.desired(places)
}

// runSchemaFile runs one file and notes where each object is defined.
func runSchemaFile(s *schemaScript, file string, places map[string]schemaPlace) error {
	place := func() schemaPlace { return schemaPlace{file, s.line()} }
	if i := strings.IndexByte(s.sql, 0); i >= 0 {
		s.start = i
		return (&SchemaError{Reason: "a NUL byte in the text"}).at(place())
	}
	for {
		more, refused := s.next()
		if refused != nil {
			return refused.at(place())
		}
		if !more {
			return nil
		}
		here, name := place(), foldName(s.head.name)
		if refused := s.run(); refused != nil {
			return refused.at(place())
		}
		if _, again := places[name]; !again {
			places[name] = here
		}
	}
}

// desired introspects what schema files made. Unlike in a database that others
// can reach, whatever breaks a rule is an error.
func (r *introspector) desired(places map[string]schemaPlace) (*schema, error) {
	s := &schema{tables: map[string]*table{}, local: map[string]string{}}
	objects, err := r.objects()
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if o.kind != "table" {
			continue
		}
		t, err := r.table(o.name)
		if err != nil {
			return nil, err
		}
		t.place = places[foldName(o.name)]
		for i := range t.indexes {
			if x := &t.indexes[i]; !x.constraint {
				x.place = places[foldName(x.name)]
			}
		}
		if refused := checkWhole(t); refused != nil {
			return nil, refused
		}
		s.tables[foldName(t.name)] = t
	}
	s.seal()
	return s, nil
}

// checkWhole checks a table and its indexes. It returns a nil error, not a nil
// *SchemaError, if all is well.
func checkWhole(t *table) error {
	if refused := checkTable(t); refused != nil {
		return refused
	}
	for i := range t.indexes {
		if refused := checkIndex(t, &t.indexes[i]); refused != nil {
			return refused
		}
	}
	return nil
}
