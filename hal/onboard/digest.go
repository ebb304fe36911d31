package onboard

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// challenge is one offer of WWW-Authenticate.
type challenge struct {
	scheme string // lower case
	params map[string]string
}

// authorize answers the best of a server's challenges: Digest (RFC 7616)
// rather than Basic, SHA-256 rather than MD5. The sums are those of the protocol,
// not a protection of ours.
func authorize(offers []string, method, uri, user, password string) (string, error) {
	best, rank := challenge{}, 0
	for _, text := range offers {
		for _, c := range challenges(text) {
			if r := c.rank(); r > rank {
				best, rank = c, r
			}
		}
	}
	switch rank {
	case 0:
		return "", errScheme
	case 1:
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), nil
	}
	return best.digest(method, uri, user, password, rand.Text()), nil
}

// rank orders what can be answered; 0 can't.
func (c *challenge) rank() int {
	switch {
	case c.scheme == "basic":
		return 1
	case c.scheme != "digest" || c.params["nonce"] == "" || c.params["qop"] != "" && !c.offersAuth():
		return 0
	}
	switch strings.ToLower(c.params["algorithm"]) {
	case "", "md5":
		return 2
	case "sha-256":
		return 3
	}
	return 0
}

func (c *challenge) offersAuth() bool {
	for q := range strings.SplitSeq(c.params["qop"], ",") {
		if strings.TrimSpace(q) == "auth" {
			return true
		}
	}
	return false
}

// digest is RFC 7616, 3.4, and without qop RFC 2069.
func (c *challenge) digest(method, uri, user, password, cnonce string) string {
	sum := func(parts ...string) string {
		var h hash.Hash = md5.New()
		if strings.EqualFold(c.params["algorithm"], "sha-256") {
			h = sha256.New()
		}
		h.Write([]byte(strings.Join(parts, ":")))
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	secret, asked, nonce := sum(user, c.params["realm"], password), sum(method, uri), c.params["nonce"]
	out := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s"`, user, c.quoted("realm"), c.quoted("nonce"), uri)
	if a := c.params["algorithm"]; a != "" {
		out += ", algorithm=" + a
	}
	if c.params["qop"] != "" {
		out += fmt.Sprintf(`, qop=auth, nc=00000001, cnonce="%s", response="%s"`, cnonce,
			sum(secret, nonce, "00000001", cnonce, "auth", asked))
	} else {
		out += fmt.Sprintf(`, response="%s"`, sum(secret, nonce, asked))
	}
	if c.params["opaque"] != "" {
		out += fmt.Sprintf(`, opaque="%s"`, c.quoted("opaque"))
	}
	return out
}

// quoted is a parameter as it stands between quotes.
func (c *challenge) quoted(name string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(c.params[name])
}

// challenges reads a WWW-Authenticate header (RFC 9110, 11.6.1), as far as it
// is well formed.
func challenges(text string) (list []challenge) {
	for text = skip(text); text != ""; text = skip(text) {
		name, rest := word(text)
		if name == "" {
			return list
		}
		rest = strings.TrimLeft(rest, " \t")
		if !strings.HasPrefix(rest, "=") {
			list, text = append(list, challenge{strings.ToLower(name), map[string]string{}}), rest
			continue
		}
		value, rest, err := parameter(strings.TrimLeft(rest[1:], " \t"))
		if err != nil || len(list) == 0 {
			return list
		}
		list[len(list)-1].params[strings.ToLower(name)] = value
		text = rest
	}
	return list
}

func skip(s string) string { return strings.TrimLeft(s, " \t,") }

// word splits a token off.
func word(s string) (token, rest string) {
	i := strings.IndexAny(s, " \t,=\"")
	if i < 0 {
		i = len(s)
	}
	return s[:i], s[i:]
}

var errQuote = errors.New("a quote does not end")

// parameter splits a token or a quoted string off.
func parameter(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = word(s)
		return value, rest, nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			if i++; i == len(s) {
				return "", "", errQuote
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", errQuote
}
