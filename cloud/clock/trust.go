package clock

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"iid2secure.nl/camagent/cloud/durable"
)

// Secure makes a client's TLS configuration judge certificates by this clock, and
// lets the certificates that pass teach it.
func (c *Clock) Secure(t *tls.Config) *tls.Config {
	t.Time = c.judging
	check := t.VerifyConnection
	t.VerifyConnection = func(s tls.ConnectionState) error {
		if check != nil {
			if err := check(s); err != nil {
				return err
			}
		}
		if len(s.VerifiedChains) > 0 {
			c.learn(s.VerifiedChains[0])
		}
		return nil
	}
	return t
}

// judging is the time by which certificates are judged: Now, or the one on trial.
func (c *Clock) judging() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	t, synced, _ := c.readAt(now)
	if synced {
		return t
	}
	return later(t, c.trial.at(now))
}

// learn takes what a server's chain that passed its checks, the host's name among
// them, tells of the time: that all of it began, and when the first ends.
func (c *Clock) learn(chain []*x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cert := range chain {
		c.raise(cert.NotBefore, time.Now())
	}
	c.seen, c.doubt, c.trial = chain[0], nil, anchor{}
}

func (c *Clock) raise(to, now time.Time) {
	if to.After(c.low.at(now)) {
		c.low = anchor{to.UTC(), now}
	}
}

// Heed looks at why a connection was not made. A certificate that is not valid
// yet, by a clock that is not synchronised, may show that the clock is behind: if
// nothing else is wrong with its chain, the next handshakes are judged by the time
// at which it begins. They make all checks again; that the certificate is the
// host's own nobody has looked at before. The floor is raised when one passes. So a camera
// without a clock meets a server whose certificate is younger than the camera's program.
// A server that is refused for the time on trial alone ends it. In all else a wrong clock is told, and changes nothing: see Wrong. Other errors, and
// nil, do nothing.
func (c *Clock) Heed(err error, roots *x509.CertPool) {
	var bad *tls.CertificateVerificationError
	if !errors.As(err, &bad) || !isPeriod(bad.Err) || len(bad.UnverifiedCertificates) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	t, synced, _ := c.readAt(now)
	leaf := bad.UnverifiedCertificates[0]
	begin, ok := validFrom(bad.UnverifiedCertificates, roots, t)
	switch {
	case ok && begin.Equal(t):
		if c.trial != (anchor{}) && isOver(bad, c.trial.wall) {
			c.trial, c.calm = anchor{}, now.Add(trialPause)
		}
		return // the clock has been set since, or it is the trial that was wrong
	case ok && !synced:
		if !now.Before(c.calm) {
			c.trial = anchor{begin.UTC(), now}
		}
		return
	}
	c.doubt = fmt.Errorf("the clock says %s, and a server's certificate is for %s to %s: one of them is wrong, and nothing is sent there until they agree",
		show(t), show(leaf.NotBefore), show(leaf.NotAfter))
}

// trialPause is how long servers are met by the clock alone after a trial that was
// wrong: nobody's certificate may keep the camera from the others.
const trialPause = 5 * time.Minute

// isOver tells whether a certificate of the chain was over at t.
func isOver(bad *tls.CertificateVerificationError, t time.Time) bool {
	return slices.ContainsFunc(bad.UnverifiedCertificates, func(cert *x509.Certificate) bool { return t.After(cert.NotAfter) })
}

func show(t time.Time) string { return t.UTC().Format(time.DateTime) }

// isPeriod tells whether a certificate was refused for the time alone.
func isPeriod(err error) bool {
	var bad x509.CertificateInvalidError
	return errors.As(err, &bad) && bad.Reason == x509.Expired
}

// maxChain bounds the walk of validFrom.
const maxChain = 8

// validFrom finds the first moment after t at which a server's chain is valid.
func validFrom(chain []*x509.Certificate, roots *x509.CertPool, t time.Time) (time.Time, bool) {
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: t}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	for range maxChain {
		_, err := chain[0].Verify(opts)
		var bad x509.CertificateInvalidError
		switch {
		case err == nil:
			return opts.CurrentTime, true
		case !isPeriod(err) || !errors.As(err, &bad) || !bad.Cert.NotBefore.After(opts.CurrentTime):
			return time.Time{}, false
		}
		opts.CurrentTime = bad.Cert.NotBefore
	}
	return time.Time{}, false
}

// Wrong tells what is wrong with the clock, in one line that an owner understands;
// nil if nothing is known to be.
func (c *Clock) Wrong() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	t, synced, _ := c.readAt(now)
	wall := c.kernel.Wall()
	switch {
	case wall.Before(c.low.at(now)):
		return fmt.Errorf("the clock says %s and can't be right; until it is set, clips are dated from %s on, and dated anew once it is", show(wall), show(t))
	case c.doubt != nil:
		return c.doubt
	case !synced && c.known.at(now).After(wall.Add(time.Minute)):
		return fmt.Errorf("the clock says %s, earlier than it was already, and no time source keeps it; until one does, clips are dated from %s on", show(wall), show(t))
	}
	return nil
}

// Save keeps floor and known time for the next start. Called once an hour and at
// the end, it spares the flash.
func (c *Clock) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.settle(now)
	next := kept{V: 1, Floor: c.low.at(now), Known: c.known.at(now), Until: c.until}
	if next.Known.After(c.until) {
		next.Known = c.until
	}
	if err := durable.WriteJSON(c.path, next); err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	return nil
}

// settle takes the time for known if the kernel has it synchronised and a server's
// certificate covers it; and what was known, and is later than a synchronised
// clock, for a lie. So whatever misleads the clock is set right by the same way.
func (c *Clock) settle(now time.Time) {
	t, synced, _ := c.readAt(now)
	switch {
	case !synced:
	case c.seen != nil && !t.After(c.seen.NotAfter):
		c.known, c.until = anchor{t, now}, c.seen.NotAfter
	case t.Before(c.known.at(now)):
		c.known = anchor{t, now}
	}
}
