package broker

import (
	"crypto/x509"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
)

// peer is who is at the other end of a connection, by its certificate, and what
// it may do. It is fixed when it connects: an app whose cameras change connects
// again.
type peer struct {
	id      string       // the certificate's CN: a serial, or a client id
	serial  cloud.Serial // of a device; empty: an app
	account string       // of an app
	bound   []cloud.Serial
	claimed []cloud.Serial
	until   time.Time // when what it may do has to be looked at again; zero: never
}

// maxCameras bounds an app's access list. R6.
const maxCameras = 1000

// suffixSize bounds what an app may add to its client id.
const suffixSize = 17

// identify says who a verified chain belongs to. P6.
func (b *Broker) identify(chain []*x509.Certificate) (peer, error) {
	if !chain[len(chain)-1].Equal(b.opt.Apps) {
		serial, err := b.opt.Device(chain[0])
		return peer{id: serial.Plain(), serial: serial}, err
	}
	id := chain[0].Subject.CommonName
	account, ok := b.opt.Store.ClientAccount(id)
	if !ok || !cloud.ValidClient(id) {
		return peer{}, errors.New("app is not enrolled")
	}
	p := peer{id: id, account: account}
	for _, row := range b.opt.Store.Bindings(account) {
		p.bound = append(p.bound, row.Serial)
	}
	for _, row := range b.opt.Store.Claims(account) {
		p.claimed = append(p.claimed, row.Serial)
		p.until = time.Now().Add(store.ClaimLife)
	}
	if len(p.bound)+len(p.claimed) > maxCameras {
		return peer{}, errors.New("account has too many cameras")
	}
	return p, nil
}

// mayUse tells whether the peer may call itself id on the broker: its own name;
// an app also <name>-<suffix>, so that several programs of one owner can be
// connected at a time. Names have no dash, so nobody gets into another's. A
// connection takes over only one of the same id: nobody else's.
func (p peer) mayUse(id string) bool {
	if id == p.id {
		return true
	}
	suffix, ok := strings.CutPrefix(id, p.id+"-")
	return ok && p.serial == "" && len(suffix) < suffixSize && cloud.ValidClient(id)
}

// mayRetain tells whether a message of the peer's may stay on a topic: presence alone.
func (p peer) mayRetain(topic string) bool {
	return p.serial != "" && topic == cloud.TopicStatus(p.serial)
}

// permissions is the access list of docs/protocol.md, in NATS subjects. A
// filter a/# needs a and a.> ; messages with QoS 1 come on $MQTT.sub.
func (p peer) permissions(client string) *server.Permissions {
	if p.serial != "" {
		root := subject(p.serial)
		return &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{root + ".out.>", root + ".status", root + ".event", root + ".ask"}},
			Subscribe: &server.SubjectPermission{Allow: []string{root + ".in", root + ".in.>", root + ".answer", qos1}},
		}
	}
	// To the engine no list at all means everything; this one is never empty.
	publish, subscribe := []string{nothing}, []string{qos1}
	for _, s := range p.claimed {
		publish = append(publish, subject(s)+".in."+client)
		subscribe = append(subscribe, subject(s)+".out."+client)
	}
	for _, s := range p.bound {
		root := subject(s)
		publish = append(publish, root+".in."+client)
		subscribe = append(subscribe, root+".out."+client, root+".status", root+".event")
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: subscribe},
	}
}

const (
	qos1    = "$MQTT.sub.>" // the broker itself refuses filters that begin so
	nothing = "none"        // a subject on which nothing ever is
)

func subject(s cloud.Serial) string { return "cam.1." + s.Plain() }
