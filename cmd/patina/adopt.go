package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/changeset/store"
	"github.com/patinadb/patina/node"
)

func adoptCommand() *cli.Command {
	return &cli.Command{
		Name:      "adopt",
		Usage:     "make an existing SQLite file a patina database, in place",
		ArgsUsage: "FILE",
		Description: "FILE must be in UTF-8. Every table that can replicate gets clocks for its rows; the others are named with the\n" +
			"reason and left local: other programs use them as before, and no node writes to them. Then \"patina agent\" with\n" +
			"this file as db.path serves and replicates it. Other nodes need the tables: the schema that is printed goes into\n" +
			"their db.schema_paths; \"patina inspect schema\" prints it again. A run that was ended goes on when it is\n" +
			"repeated; \"patina eject\" undoes it. Until it has finished, other programs read everything and write what is\n" +
			"left local; their writes to the rest are refused.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cluster", Usage: "`NAME` of the cluster, as gossip.cluster has it", Value: "default"},
			&cli.StringFlag{Name: "schema-out", Usage: "write the schema to a new or empty `FILE`"},
		},
		Action: runAdopt,
	}
}

func runAdopt(c *cli.Context) error {
	file, err := databaseArgument(c)
	if err != nil {
		return err
	}
	if fault := node.CheckCluster(c.String("cluster")); fault != "" {
		return errors.New(fault)
	}
	schema, err := makeSchemaFile(c.String("schema-out"), file)
	if err != nil {
		return err
	}
	a, err := store.Adopt(c.Context, store.Config{Path: file, Cluster: c.String("cluster")})
	if err != nil {
		return errors.Join(err, schema.discard())
	}
	if err := schema.write(a.Schema); err != nil {
		return fmt.Errorf("the file is adopted, but its schema is not written: %w; patina inspect schema %s prints it", err, file)
	}
	return printAdoption(c, a, c.String("schema-out"))
}

// newSchemaFile is the file of --schema-out, nil without it. It is opened before
// anything is adopted.
type newSchemaFile struct {
	f    *os.File
	made bool
}

// makeSchemaFile makes it. An empty one, as an adoption that was killed leaves it, will
// do.
func makeSchemaFile(name, database string) (*newSchemaFile, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	s := &newSchemaFile{f, err == nil}
	if errors.Is(err, fs.ErrExist) {
		s.f, err = os.OpenFile(name, os.O_WRONLY, 0)
	}
	if err != nil {
		return nil, err
	}
	info, err := s.f.Stat()
	if err == nil && (info.Size() > 0 || !info.Mode().IsRegular()) {
		err = fmt.Errorf("%s is there already: --schema-out makes a new file", name)
	}
	if other, failed := os.Stat(database); err == nil && failed == nil && os.SameFile(info, other) {
		err = fmt.Errorf("%s is the database itself", name)
	}
	if err != nil {
		return nil, errors.Join(err, s.discard())
	}
	return s, nil
}

// discard removes it, if it was made here.
func (s *newSchemaFile) discard() error {
	switch {
	case s == nil:
		return nil
	case !s.made:
		return s.f.Close()
	}
	return errors.Join(s.f.Close(), os.Remove(s.f.Name()))
}

func (s *newSchemaFile) write(sql string) error {
	if s == nil {
		return nil
	}
	_, err := s.f.WriteString(sql)
	return errors.Join(err, s.f.Close())
}

func printAdoption(c *cli.Context, a *store.Adoption, schema string) error {
	var b strings.Builder
	for _, o := range a.Objects {
		if o.Name == "" {
			o.Name = `""`
		}
		if o.Local != "" {
			fmt.Fprintf(&b, "%s %s: left local: %s\n", o.Kind, printable(o.Name), printable(o.Local))
		} else {
			fmt.Fprintf(&b, "%s %s: %d rows\n", o.Kind, printable(o.Name), o.Rows)
		}
	}
	fmt.Fprintf(&b, "actor %v\nversions %d\n", a.Actor, a.Versions)
	if schema != "" {
		fmt.Fprintf(&b, "schema %s, for db.schema_paths of every node\n", schema)
	} else {
		fmt.Fprintf(&b, "schema, for a .sql file in db.schema_paths of every node:\n\n%s", a.Schema)
	}
	_, err := fmt.Fprint(c.App.Writer, b.String())
	return err
}
