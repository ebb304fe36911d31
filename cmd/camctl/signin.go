package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"

	"iid2secure.nl/camagent/cmd/camctl/internal/home"
)

const (
	tokenEnv  = "CAMCTL_TOKEN"
	maxToken  = 4 << 10
	maxRoots  = 1 << 20
	renewFrom = 7 * 24 * time.Hour // before the broker certificate ends
)

type signInFlags struct{ roots, tokenFile string }

func (c *ctl) signInCommand() *cobra.Command {
	var f signInFlags
	cmd := &cobra.Command{
		Use: "sign-in URL", Short: "Sign in to a cloud, and get a certificate for its broker",
		Long: "Sign in to a cloud, for example https://cloud.example:8443. The account's token comes from --token-file, " +
			"from the environment variable " + tokenEnv + ", or is asked for on the terminal. Signing in again is harmless.",
		Args: takes(1, 1, "the cloud's URL"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.signIn(cmd.Context(), args[0], f) },
	}
	cmd.Flags().StringVar(&f.roots, "roots", "", "PEM file with the certificates to trust (default: the system's)")
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "file with the account's token")
	return cmd
}

func (c *ctl) signIn(ctx context.Context, text string, f signInFlags) error {
	base, err := cloudURL(text)
	if err != nil {
		return err
	}
	h, err := c.home()
	if err != nil {
		return err
	}
	old, err := h.Account()
	if err != nil && !errors.Is(err, home.ErrNoAccount) {
		return err
	}
	if old.URL != base {
		old = home.Account{URL: base}
	}
	a := old
	if a.Roots, err = readRoots(f.roots, old.Roots); err != nil {
		return err
	}
	if a.Token, err = c.token(f.tokenFile, old.Token); err != nil {
		return err
	}
	if a.Token != old.Token {
		a.Chain = "" // perhaps another account: the certificate is not ours
	}
	if a, err = c.enrol(ctx, a); err != nil {
		return err
	}
	if err := h.SaveAccount(a); err != nil {
		return fmt.Errorf("account: %w", err)
	}
	v := map[string]string{"url": a.URL, "broker": a.Broker, "client": a.ClientID, "expires": a.Expires.UTC().Format(time.RFC3339)}
	return c.show(v, func(w io.Writer) { fmt.Fprintf(w, "signed in to %s, broker %s\n", a.URL, a.Broker) })
}

// cloudURL checks and normalises the address.
func cloudURL(text string) (string, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", usage("sign-in: the address must be of the form https://host[:port]")
	}
	return u.String(), nil
}

// readRoots reads the PEM file, or keeps what is known.
func readRoots(path, known string) (string, error) {
	if path == "" {
		return known, nil
	}
	return readPEM("--roots", path)
}

// readPEM reads a file of certificates, which a flag named.
func readPEM(flag, path string) (string, error) {
	b, err := readSome(path, maxRoots)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	if pool, err := home.Pool(string(b)); err != nil || pool == nil {
		return "", fmt.Errorf("%s: %s: no PEM certificate in it", flag, path)
	}
	return string(b), nil
}

// token finds the account's token: file, environment, terminal, what is known.
func (c *ctl) token(path string, known cloud.Secret) (cloud.Secret, error) {
	text := os.Getenv(tokenEnv)
	switch {
	case path != "":
		b, err := readSome(path, maxToken)
		if err != nil {
			return cloud.Secret{}, fmt.Errorf("--token-file: %w", err)
		}
		text = string(b)
	case text == "" && isTerminal(c.in):
		t, err := c.prompt("account token: ")
		if err != nil {
			return cloud.Secret{}, err
		}
		text = t.Reveal()
	}
	text = strings.TrimSpace(text)
	switch {
	case text == "" && !known.IsZero():
		return known, nil
	case text == "":
		return cloud.Secret{}, usage("sign-in: no token: give --token-file FILE, set %s, or run it on a terminal", tokenEnv)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return cloud.Secret{}, errors.New("the token must be one line of plain characters")
	}
	return cloud.NewSecret(text), nil
}

// prompt reads a secret from the terminal, without echo.
func (c *ctl) prompt(what string) (cloud.Secret, error) {
	f, ok := c.in.(*os.File)
	if !ok || !isTerminal(c.in) {
		return cloud.Secret{}, usage("standard input is no terminal to ask on")
	}
	fmt.Fprint(c.err, what)
	b, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(c.err)
	if err != nil {
		return cloud.Secret{}, fmt.Errorf("terminal: %w", err)
	}
	return cloud.NewSecret(string(b)), nil
}

// readSome reads a small file; "-" is not special.
func readSome(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return b, err
}

// enrol asks the cloud where things are, and gets a broker certificate if there
// is none that lasts.
func (c *ctl) enrol(ctx context.Context, a home.Account) (home.Account, error) {
	client, err := cloudClient(a)
	if err != nil {
		return a, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	site, err := client.Site(ctx)
	if err != nil {
		return a, explainCloud(err)
	}
	a.Broker = site.Broker
	if site.CA != "" {
		a.Roots = site.CA
	}
	if a.Chain == "" || time.Until(a.Expires) < renewFrom {
		if err := newCertificate(ctx, client, &a); err != nil {
			return a, explainCloud(err)
		}
	}
	_, err = a.TLS()
	return a, err
}

func newCertificate(ctx context.Context, client *api.Client, a *home.Account) error {
	key, csr, err := home.NewClientKey()
	if err != nil {
		return err
	}
	cert, err := client.Enrol(ctx, csr)
	if err != nil {
		return err
	}
	if !cloud.ValidClient(cert.ID) {
		return errors.New("enrol client: the cloud gave a client id that is not valid")
	}
	a.Key, a.Chain, a.ClientID, a.Expires = key, cert.Chain, cert.ID, time.Unix(cert.Expires, 0)
	return nil
}

// account reads the account and renews its broker certificate in time.
func (c *ctl) account(ctx context.Context, h *home.Home) (home.Account, error) {
	a, err := h.Account()
	if err != nil || time.Until(a.Expires) > renewFrom {
		return a, err
	}
	renewed, err := c.enrol(ctx, a)
	switch {
	case err == nil:
		return renewed, h.SaveAccount(renewed)
	case time.Now().Before(a.Expires):
		return a, nil
	}
	return a, fmt.Errorf("your broker certificate ended on %s and can't be renewed: %w", a.Expires.Format(time.DateOnly), err)
}

func cloudClient(a home.Account) (*api.Client, error) {
	pool, err := home.Pool(a.Roots)
	if err != nil {
		return nil, fmt.Errorf("account: roots: %w", err)
	}
	return api.New(a.URL, pool, a.Token), nil
}

// explainCloud adds what the owner can do about it.
func explainCloud(err error) error {
	if refusal, ok := errors.AsType[*api.Error](err); ok && refusal.Code == api.CodeUnauthorized {
		return fmt.Errorf("%w: is the token right, and the account still valid? run camctl sign-in", err)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%w: if it is a cloud of your own, give its certificate with --roots FILE", err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the cloud does not answer")
	}
	return err
}
