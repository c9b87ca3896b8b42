package node

import (
	"fmt"
	"time"

	"github.com/patinadb/patina/transport"
)

// maxPEMBytes bounds each file of gossip.tls.
const maxPEMBytes = 1 << 20

// expirySoon is how long before its end a certificate is warned of.
const expirySoon = 30 * 24 * time.Hour

// readIdentity reads what the node proves itself with. Errors name the key of the
// setting and the file.
func readIdentity(cfg Config) (transport.Identity, error) {
	g := cfg.Gossip
	id := transport.Identity{Secret: g.Secret.Reveal(), OldSecret: g.OldSecret.Reveal()}
	for _, f := range []struct {
		key, file string
		into      *[]byte
	}{
		{"ca", g.TLS.CA, &id.CA}, {"cert", g.TLS.Cert, &id.Cert}, {"key", g.TLS.Key, &id.Key},
	} {
		if f.file == "" {
			continue
		}
		data, err := readBeside(f.file, cfg.DB.Path, maxPEMBytes)
		if err != nil {
			return id, fmt.Errorf("gossip.tls.%s: %w", f.key, err)
		}
		*f.into = data
	}
	return id, nil
}

// logExpiry warns of a certificate that ends soon or has ended: peers would then
// refuse the node, which goes on alone.
func (n *Node) logExpiry(m *mesh) {
	at, ok := m.links.CertificateExpiry()
	switch now := n.cfg.Now(); {
	case !ok:
	case now.After(at):
		n.log.Error("the certificate of gossip.tls has expired: peers refuse this node", "err", at.UTC().Format(time.RFC3339))
	case at.Sub(now) < expirySoon:
		n.log.Warn("the certificate of gossip.tls expires soon", "err", at.UTC().Format(time.RFC3339))
	}
}
