package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/node"
	"github.com/patinadb/patina/transport"
)

func tlsCommand() *cli.Command {
	return &cli.Command{
		Name:  "tls",
		Usage: "make the certificates of gossip.tls",
		Description: "\"patina tls ca\" once for a cluster, then \"patina tls cert\" for each node. A node needs ca.crt, its own\n" +
			"certificate and its own key; ca.key is needed to make certificates only, and on no node.",
		Subcommands: []*cli.Command{tlsCACommand(), tlsCertCommand()},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("unknown verb \"tls %s\"; there are tls ca and tls cert", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

// Lifetimes in days. Certificates are valid from an hour ago on, as clocks differ.
const (
	defaultCADays   = 3650
	defaultCertDays = 365
	maxDays         = 36500
	clockSlack      = time.Hour
)

func dirFlag() cli.Flag {
	return &cli.StringFlag{Name: "dir", Usage: "write the files into `DIR`, which must exist", Value: "."}
}

func tlsCACommand() *cli.Command {
	return &cli.Command{
		Name:         "ca",
		Usage:        "make a certificate authority: ca.crt and ca.key",
		Description:  "A P-256 key that only its owner can read, and its certificate. Files that exist are never written over.",
		Flags:        []cli.Flag{dirFlag(), &cli.IntFlag{Name: "days", Usage: "valid for `N` days", Value: defaultCADays}},
		OnUsageError: usageError,
		Action:       runTLSCA,
	}
}

func tlsCertCommand() *cli.Command {
	return &cli.Command{
		Name:      "cert",
		Usage:     "make a node's certificate: NAME.crt and NAME.key",
		ArgsUsage: "NAME",
		Description: "It names the cluster and the node, by which peers know it, and no address. Make a new one under another\n" +
			"name or in another folder before it ends, put it in place of the old one, and \"patina reload\".",
		Flags: []cli.Flag{
			dirFlag(),
			&cli.StringFlag{Name: "ca", Usage: "certificate `FILE` of the CA", Value: "ca.crt"},
			&cli.StringFlag{Name: "ca-key", Usage: "key `FILE` of the CA", Value: "ca.key"},
			&cli.StringFlag{Name: "cluster", Usage: "`NAME` in gossip.cluster", Value: node.DefaultConfig().Gossip.Cluster},
			&cli.IntFlag{Name: "days", Usage: "valid for `N` days", Value: defaultCertDays},
		},
		OnUsageError: usageError,
		Action:       runTLSCert,
	}
}

func validity(c *cli.Context) (transport.Validity, error) {
	days := c.Int("days")
	if days < 1 || days > maxDays {
		return transport.Validity{}, fmt.Errorf("--days %d is out of range: allowed are 1 to %d", days, maxDays)
	}
	now := time.Now()
	return transport.Validity{From: now.Add(-clockSlack), Until: now.Add(time.Duration(days) * 24 * time.Hour)}, nil
}

func runTLSCA(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("tls ca takes no arguments, got %q", c.Args().First())
	}
	v, err := validity(c)
	if err != nil {
		return err
	}
	pair, err := transport.NewAuthority(v)
	if err != nil {
		return err
	}
	return writePair(c, "ca", pair)
}

func runTLSCert(c *cli.Context) error {
	if err := flagsFirst(c); err != nil {
		return err
	}
	name := c.Args().First()
	switch {
	case c.NArg() != 1:
		return errors.New("tls cert takes one NAME")
	case node.CheckCluster(name) != "" || name == "ca": // a file's name, and no path
		return fmt.Errorf("%q is no node's name: allowed are 1 to 64 of A-Z a-z 0-9 . _ -, beginning and ending with a letter or digit, but not ca", name)
	}
	v, err := validity(c)
	if err != nil {
		return err
	}
	var ca transport.PEMPair
	if ca.Cert, err = os.ReadFile(c.String("ca")); err != nil {
		return fmt.Errorf("read CA: %w; \"patina tls ca\" makes one", err)
	}
	if ca.Key, err = os.ReadFile(c.String("ca-key")); err != nil {
		return fmt.Errorf("read CA: %w", err)
	}
	pair, err := transport.NewCertificate(ca, c.String("cluster"), name, v)
	if err != nil {
		return err
	}
	return writePair(c, name, pair)
}

// writePair writes two files that do not exist yet, both or none.
func writePair(c *cli.Context, name string, pair transport.PEMPair) error {
	base := filepath.Join(c.String("dir"), name)
	if err := writeNew(base+".key", pair.Key, 0o600); err != nil {
		return err
	}
	if err := writeNew(base+".crt", pair.Cert, 0o644); err != nil {
		return errors.Join(err, os.Remove(base+".key"))
	}
	_, err := fmt.Fprintf(c.App.Writer, "certificate %s.crt\nkey %s.key\n", base, base)
	return err
}

func writeNew(file string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}
