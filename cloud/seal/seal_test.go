package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// lowOrder is the age recipient of the point 0, with a valid checksum.
func lowOrder(t *testing.T) string {
	t.Helper()
	text := "age1" + strings.Repeat("q", 52)
	return text + bech32Sum("age", make([]byte, 52))
}

// bech32Sum is the checksum of BIP 173.
func bech32Sum(hrp string, data []byte) string {
	const charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	var v []byte
	for _, c := range []byte(hrp) {
		v = append(v, c>>5)
	}
	v = append(v, 0)
	for _, c := range []byte(hrp) {
		v = append(v, c&31)
	}
	v = append(append(v, data...), 0, 0, 0, 0, 0, 0)
	c := uint32(1)
	for _, d := range v {
		t := c >> 25
		c = (c&0x1ffffff)<<5 ^ uint32(d)
		for i, g := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if t>>i&1 == 1 {
				c ^= g
			}
		}
	}
	c ^= 1
	var s strings.Builder
	for i := range 6 {
		s.WriteByte(charset[c>>(5*(5-i))&31])
	}
	return s.String()
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	_, a, err := NewIdentity()
	require.NoError(t, err)
	_, b, err := NewIdentity()
	require.NoError(t, err)
	r, err := ParseRecipients([]string{a, b, a})
	require.NoError(t, err)
	require.Equal(t, 2, r.Len())

	low := lowOrder(t)
	_, err = age.ParseX25519Recipient(low)
	require.NoError(t, err, "the text itself is valid, that is the point")
	require.ErrorContains(t, TrialSeal(low), "low-order")
	hybrid, err := age.GenerateHybridIdentity()
	require.NoError(t, err)
	for _, bad := range []string{"", "age1", hybrid.Recipient().String(), "ssh-ed25519 AAAA", a + " ", a[:61], "AGE-SECRET-KEY-1"} {
		_, err := ParseRecipients([]string{a, bad})
		require.ErrorContains(t, err, "age recipient 2 of 2")
	}
	_, err = NewWriter(io.Discard, Recipients{})
	require.ErrorIs(t, err, ErrNoRecipients)
}

// One key in 32,768 begins as the name of another kind does.
func TestRecipientThatSpellsAnotherKind(t *testing.T) {
	t.Parallel()
	require.NoError(t, TrialSeal("age1tagrj88546r3j4f079axjtcfdkzlta33na5w873g5gcldck26a6q0sxzrd"))
	for _, kind := range []string{"age1pq1", "age1tag1", "age1tagpq1", "age1yubikey1"} {
		require.ErrorContains(t, TrialSeal(kind+strings.Repeat("q", 58)), "another kind", kind)
	}
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	secret, to, err := NewIdentity()
	require.NoError(t, err)
	same, err := RecipientOf(secret)
	require.NoError(t, err)
	require.Equal(t, to, same)
	stranger, _, err := NewIdentity()
	require.NoError(t, err)
	r, err := ParseRecipients([]string{to})
	require.NoError(t, err)
	plain := make([]byte, 200<<10) // several chunks of 64 KiB
	rand.Read(plain)
	sealed, err := Bytes(plain, r)
	require.NoError(t, err)
	got, err := OpenBytes(sealed, secret)
	require.NoError(t, err)
	require.Equal(t, plain, got)

	_, err = OpenBytes(sealed, stranger)
	require.ErrorIs(t, err, ErrNotForUs)
	_, err = OpenBytes(sealed, cloud.NewSecret("x"))
	require.ErrorContains(t, err, "AGE-SECRET-KEY-1")
	for _, at := range []int{0, 30, 100, len(sealed) / 2, len(sealed) - 1} {
		bad := bytes.Clone(sealed)
		bad[at] ^= 1
		_, err := OpenBytes(bad, secret)
		require.Error(t, err, "flipped at %d", at)
	}
	for _, n := range []int{0, 10, 150, 70 << 10, 64<<10 + 200, len(sealed) - 1} {
		_, err := OpenBytes(sealed[:n], secret)
		require.Error(t, err, "cut to %d", n)
	}
	cut, err := Open(bytes.NewReader(sealed[:150<<10]), secret)
	require.NoError(t, err)
	whole, err := io.ReadAll(cut)
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
	require.Equal(t, plain[:len(whole)], whole)
	require.NotEmpty(t, whole)
}

func debianAge(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("age")
	require.NoError(t, err, "install the Debian package age")
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), errs.String())
	return out.Bytes()
}

// P5: the format is not ours: Debian's own program opens it, and we what it seals.
func TestP5_InterworksWithDebiansAge(t *testing.T) {
	t.Parallel()
	secret, to, err := NewIdentity()
	require.NoError(t, err)
	_, second, err := NewIdentity()
	require.NoError(t, err)
	key := filepath.Join(t.TempDir(), "key.txt")
	require.NoError(t, os.WriteFile(key, []byte(secret.Reveal()+"\n"), 0o600))
	r, err := ParseRecipients([]string{second, to})
	require.NoError(t, err)
	plain := bytes.Repeat([]byte("frame"), 50_000)
	sealed, err := Bytes(plain, r)
	require.NoError(t, err)
	require.Equal(t, plain, debianAge(t, sealed, "-d", "-i", key))
	got, err := OpenBytes(debianAge(t, plain, "-r", to), secret)
	require.NoError(t, err)
	require.Equal(t, plain, got)
}

type failing struct{ after int }

var errFull = errors.New("card full")

func (f *failing) Write(b []byte) (int, error) {
	if f.after -= len(b); f.after < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestWriteErrorsAreReported(t *testing.T) {
	t.Parallel()
	_, to, err := NewIdentity()
	require.NoError(t, err)
	r, err := ParseRecipients([]string{to})
	require.NoError(t, err)
	_, err = NewWriter(&failing{10}, r)
	require.ErrorIs(t, err, errFull)
	w, err := NewWriter(&failing{1000}, r)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 10))
	require.NoError(t, err)
	w2, err := NewWriter(&failing{300}, r)
	require.NoError(t, err)
	_, err = w2.Write(make([]byte, 1000))
	require.NoError(t, err, "held back")
	require.ErrorIs(t, w2.Close(), errFull)
}

type claim struct {
	cloud.Statement
	Note string `json:"note"`
}

func kinds() []string { return []string{cloud.TypReceipt, cloud.TypManifest, cloud.TypPresence} }

func TestS10_NoKindIsTakenForAnother(t *testing.T) {
	t.Parallel()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for _, made := range kinds() {
		token, err := Sign(made, key, claim{Note: made})
		require.NoError(t, err)
		for _, wanted := range append(kinds(), "", strings.ToUpper(made), made+" ", "JWT") {
			var c claim
			err := Verify(wanted, pub, token, &c)
			if wanted == made {
				require.NoError(t, err)
				require.Equal(t, made, c.Note)
				continue
			}
			require.Error(t, err, "%s taken for %q", made, wanted)
			require.Zero(t, c)
		}
	}
}

func TestS10_OtherKeysAndEveryFlippedCharacter(t *testing.T) {
	t.Parallel()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	other, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	token, err := Sign(cloud.TypReceipt, key, claim{Note: "x"})
	require.NoError(t, err)
	var c claim
	require.ErrorContains(t, Verify(cloud.TypReceipt, other, token, &c), "expected key")
	require.Error(t, Verify(cloud.TypReceipt, nil, token, &c))
	for i := range token {
		for _, r := range []byte{'A' + byte(i%2), '.', '\n', '='} {
			if token[i] == r {
				continue
			}
			bad := token[:i] + string(r) + token[i+1:]
			require.Error(t, Verify(cloud.TypReceipt, pub, bad, &c), "character %d as %q", i, r)
			require.Error(t, Verify(cloud.TypReceipt, pub, token[:i]+string(r)+token[i:], &c), "inserted at %d", i)
		}
		require.Error(t, Verify(cloud.TypReceipt, pub, token[:i], &c))
	}
	// The last symbol of a signature has four spare bits: one spelling only.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	good := 0
	for _, r := range alphabet {
		var d claim
		if Verify(cloud.TypReceipt, pub, token[:len(token)-1]+string(r), &d) == nil {
			good++
		}
	}
	require.Equal(t, 1, good)
	require.Zero(t, c)
	require.Len(t, Hash(token), 64)
}

// handmade signs any header, as somebody with the right key would.
func handmade(key ed25519.PrivateKey, header, payload string) string {
	e := base64.RawURLEncoding
	in := e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(payload))
	return in + "." + e.EncodeToString(ed25519.Sign(key, []byte(in)))
}

func TestS10_HeadersAndPayloadsAreStrict(t *testing.T) {
	t.Parallel()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	const head = `"alg":"EdDSA","typ":"iid2-receipt+jws"`
	var c claim
	require.NoError(t, Verify(cloud.TypReceipt, pub, handmade(key, "{"+head+"}", `{"v":1}`), &c))
	for _, more := range []string{
		`,"jwk":{"kty":"OKP"}`, `,"jku":"https://x"`, `,"x5c":["x"]`, `,"x5u":"x"`, `,"crit":["b64"],"b64":false`,
		`,"kid":"x"`, `,"nonce":"x"`, `,"x":1`, `,"alg":"none"`, `,"typ":"iid2-receipt+jws"`, `,"Typ":"x"`,
	} {
		require.Error(t, Verify(cloud.TypReceipt, pub, handmade(key, "{"+head+more+"}", `{"v":1}`), &c), more)
	}
	for _, h := range []string{
		`{"alg":"none","typ":"iid2-receipt+jws"}`, `{"alg":"HS256","typ":"iid2-receipt+jws"}`, `{"typ":"iid2-receipt+jws"}`,
		`{"alg":"EdDSA"}`, `{"ALG":"EdDSA","typ":"iid2-receipt+jws"}`, `[]`, ``, `null`, "{" + head + "}{}",
	} {
		require.Error(t, Verify(cloud.TypReceipt, pub, handmade(key, h, `{"v":1}`), &c), h)
	}
	for _, p := range []string{
		`{"v":1,"more":2}`, `{"v":1,"v":2}`, `{"v":1,"V":2}`, `{"v":1}{}`, `{"v":1} x`, `{"v":"1"}`, ``, strings.Repeat("[", 40),
	} {
		require.ErrorContains(t, Verify(cloud.TypReceipt, pub, handmade(key, "{"+head+"}", p), &c), "payload", p)
	}
}

func TestS10_OtherAlgorithmsAndEmbeddedKeys(t *testing.T) {
	t.Parallel()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, thief, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	opts := func() *jose.SignerOptions {
		return (&jose.SignerOptions{}).WithType(jose.ContentType(cloud.TypReceipt))
	}
	embedded := opts()
	embedded.EmbedJWK = true
	for name, s := range map[string]struct {
		key  jose.SigningKey
		opts *jose.SignerOptions
	}{
		"embedded key":           {jose.SigningKey{Algorithm: jose.EdDSA, Key: thief}, embedded},
		"public key as a secret": {jose.SigningKey{Algorithm: jose.HS256, Key: []byte(pub)}, opts()},
	} {
		signer, err := jose.NewSigner(s.key, s.opts)
		require.NoError(t, err)
		o, err := signer.Sign([]byte(`{"v":1}`))
		require.NoError(t, err)
		token, err := o.CompactSerialize()
		require.NoError(t, err)
		var c claim
		require.Error(t, Verify(cloud.TypReceipt, pub, token, &c), name)
		require.Error(t, Verify(cloud.TypReceipt, pub, o.FullSerialize(), &c), name)
	}
}

func TestStatementsAreBounded(t *testing.T) {
	t.Parallel()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, err = Sign(cloud.TypManifest, key, claim{Note: strings.Repeat("x", MaxStatement)})
	require.ErrorContains(t, err, "at most 65536")
	var c claim
	require.ErrorContains(t, Verify(cloud.TypManifest, pub, strings.Repeat("x", MaxStatement+1), &c), "at most 65536")
	_, err = Sign(cloud.TypManifest, nil, claim{})
	require.Error(t, err)
	_, err = Sign(cloud.TypManifest, key, func() {})
	require.Error(t, err)
}

func FuzzVerify(f *testing.F) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(f, err)
	good, err := Sign(cloud.TypReceipt, key, claim{Note: "x"})
	require.NoError(f, err)
	f.Add(good)
	f.Add(handmade(key, `{"alg":"none"}`, "{}"))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		var c claim
		if Verify(cloud.TypReceipt, pub, token, &c) == nil {
			require.Equal(t, good, token)
		}
	})
}

func FuzzOpen(f *testing.F) {
	secret, to, err := NewIdentity()
	require.NoError(f, err)
	r, err := ParseRecipients([]string{to})
	require.NoError(f, err)
	sealed, err := Bytes([]byte("picture"), r)
	require.NoError(f, err)
	f.Add(sealed)
	f.Add(sealed[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := OpenBytes(b, secret); err == nil {
			require.Equal(t, []byte("picture"), plain)
		}
	})
}
