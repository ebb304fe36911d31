package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent/command"

	"iid2secure.nl/camagent/cmd/camctl/internal/files"
)

// liveWish is what the owner wants of live.
type liveWish struct {
	stream    string // "": all, or to be played the first
	play, tls bool
	cert      string // file for the camera's certificate
}

func (c *ctl) liveCommand() *cobra.Command {
	var w liveWish
	cmd := &cobra.Command{
		Use: "live [STREAM]", Short: "Print the addresses of the live streams, with the credential that opens them",
		Long: "Print the addresses of the live streams (main, sub) and of the picture, with the credential that opens them; " +
			"or, with --play, show a stream (default: main) with ffplay, without the credential on any command line. " +
			"With --tls, only what is encrypted; --play then checks the camera's certificate itself.",
		Args: takes(0, 1, "one stream"),
		RunE: func(cmd *cobra.Command, args []string) error {
			w.stream = append(args, "")[0]
			if w.stream != "" && !slices.Contains(streamNames, w.stream) {
				return usage("live: no stream %.20q: want main or sub", w.stream)
			}
			if w.play && c.json {
				return usage("live: --play prints nothing: without --json")
			}
			return c.live(cmd.Context(), w)
		},
	}
	cmd.Flags().BoolVar(&w.play, "play", false, "play the stream with ffplay")
	cmd.Flags().BoolVar(&w.tls, "tls", false, "only addresses that are encrypted (rtsps, https)")
	cmd.Flags().StringVar(&w.cert, "cert", "", "file for the camera's certificate (PEM), for viewers that check it")
	return cmd
}

// live prints a credential: that is its purpose.
func (c *ctl) live(ctx context.Context, w liveWish) error {
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	l, err := call(ctx, c, o, command.LiveGet, command.None{})
	if err == nil {
		l, err = usableLive(l, w)
	}
	if err != nil {
		return err
	}
	if w.cert != "" {
		if l.Certificate == "" {
			return errNoTLS
		}
		if err := files.Write(w.cert, []byte(l.Certificate)); err != nil {
			return err
		}
	}
	if w.play {
		return playLive(ctx, player, o.camera.Label(), l, w.stream)
	}
	return c.show(l, func(out io.Writer) { writeLive(out, l, w.cert) })
}

var errNoTLS = errors.New("live: this camera serves nothing over TLS (rtsp.tls_address is empty)")

// usableLive checks what the camera says, puts the credential into the addresses,
// and leaves out what is not wanted.
func usableLive(l command.Live, w liveWish) (command.Live, error) {
	if w.tls && len(l.TLSURLs) == 0 {
		return l, errNoTLS
	}
	if w.tls {
		l.URLs, l.Snapshot = nil, ""
	}
	if err := checkCertificate(l); err != nil {
		return l, err
	}
	user := url.UserPassword(l.User, l.Password)
	var err error
	for _, list := range []struct {
		urls   map[string]string
		scheme string
		into   *map[string]string
	}{{l.URLs, "rtsp", &l.URLs}, {l.TLSURLs, "rtsps", &l.TLSURLs}} {
		if *list.into, err = streamURLs(list.urls, list.scheme, user, w.stream); err != nil {
			return l, err
		}
	}
	if w.stream != "" && len(l.URLs)+len(l.TLSURLs) == 0 {
		return l, fmt.Errorf("live: the camera has no stream %q", w.stream)
	}
	if l.Snapshot, err = withUser(l.Snapshot, "http", user); err == nil {
		l.TLSSnapshot, err = withUser(l.TLSSnapshot, "https", user)
	}
	return l, err
}

// streamURLs gives the addresses of one stream or, if it is "", of all.
func streamURLs(urls map[string]string, scheme string, user *url.Userinfo, stream string) (map[string]string, error) {
	out := map[string]string{}
	for name, text := range urls {
		if stream != "" && name != stream {
			continue
		}
		u, err := withUser(text, scheme, user)
		if err != nil {
			return nil, err
		}
		out[name] = u
	}
	return out, nil
}

// withUser puts the credential into an address. One of another kind is refused:
// a player would open anything.
func withUser(text, scheme string, user *url.Userinfo) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != scheme || u.Host == "" {
		return "", fmt.Errorf("live: what the camera gave as its address is not an address of %s", scheme)
	}
	u.User = user
	return u.String(), nil
}

// checkCertificate tells whether the certificate is one, and has the fingerprint
// that the camera says.
func checkCertificate(l command.Live) error {
	if l.Certificate == "" && len(l.TLSURLs) == 0 {
		return nil
	}
	block, rest := pem.Decode([]byte(l.Certificate))
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		return errors.New("live: the camera gave no certificate")
	}
	sum := sha256.Sum256(block.Bytes)
	if hex.EncodeToString(sum[:]) != l.Fingerprint {
		return errors.New("live: the camera's certificate and its fingerprint do not agree")
	}
	return nil
}

func writeLive(w io.Writer, l command.Live, cert string) {
	for _, name := range slices.Sorted(maps.Keys(l.URLs)) {
		fmt.Fprintf(w, "%s\t%s\n", name, l.URLs[name])
	}
	for _, name := range slices.Sorted(maps.Keys(l.TLSURLs)) {
		fmt.Fprintf(w, "%s, TLS\t%s\n", name, l.TLSURLs[name])
	}
	for _, u := range []string{l.Snapshot, l.TLSSnapshot} {
		if u != "" {
			fmt.Fprintf(w, "picture\t%s\n", u)
		}
	}
	if l.Fingerprint != "" {
		fmt.Fprintf(w, "certificate\tSHA-256 %s\n", l.Fingerprint)
	}
	if cert != "" {
		fmt.Fprintf(w, "\tin %s\n", cert)
	}
	if l.Talk {
		fmt.Fprintf(w, "talk\tyes, with a viewer that knows ONVIF's back channel\n")
	}
	if l.Multicast {
		fmt.Fprintf(w, "multicast\tcan be chosen\n")
	}
}

func (c *ctl) keyframeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "keyframe [STREAM]", Short: "Make a stream (default: main) begin a new GOP", Args: takes(0, 1, "one stream"),
		RunE: func(cmd *cobra.Command, args []string) error {
			stream := "main"
			if len(args) > 0 {
				stream = args[0]
			}
			return c.keyframe(cmd.Context(), stream)
		},
	}
}

func (c *ctl) keyframe(ctx context.Context, stream string) error {
	if !slices.Contains(streamNames, stream) {
		return usage("keyframe: no stream %.20q: want main or sub", stream)
	}
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	if _, err := call(ctx, c, o, command.KeyframeRequest, command.StreamName{Stream: stream}); err != nil {
		return err
	}
	return c.show(map[string]string{"stream": stream}, func(w io.Writer) { fmt.Fprintf(w, "%s: a key frame was requested\n", stream) })
}
