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
		Description: "Every table that can replicate gets clocks for its rows; the others are named with the reason and left\n" +
			"local: other programs use them as before, and no node writes to them. Then \"patina agent\" with this file as db.path\n" +
			"serves and replicates it. Other nodes need the tables: the schema that is printed goes into their\n" +
			"db.schema_paths. A run that was ended goes on when it is repeated; \"patina eject\" undoes it. Until it has\n" +
			"finished, other programs read everything and write what is left local; their writes to the rest are refused.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cluster", Usage: "`NAME` of the cluster, as gossip.cluster has it", Value: "default"},
			&cli.StringFlag{Name: "schema-out", Usage: "write the schema to a new `FILE`"},
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
	schema := c.String("schema-out")
	if schema != "" {
		if _, err := os.Stat(schema); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already: --schema-out makes a new file", schema)
		}
	}
	a, err := store.Adopt(c.Context, store.Config{Path: file, Cluster: c.String("cluster")})
	if err != nil {
		return err
	}
	if err := printAdoption(c, a, schema); err != nil || schema == "" {
		return err
	}
	f, err := os.OpenFile(schema, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(a.Schema)
	return errors.Join(err, f.Close())
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
