package rtsp

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The nonce that the clients below were given, on the address they spoke to.
const (
	givenNonce = "0123456789abcdef0123456789abcdef"
	spokenTo   = "rtsp://127.0.0.1:18554"
)

// clientAnswer is one request of a client and what is to come of it.
type clientAnswer struct {
	client, method, url, answer string
	want                        verdict
}

func said(format string, args ...any) string {
	return fmt.Sprintf(strings.ReplaceAll(format, "NONCE", givenNonce), args...)
}

// Captured from ffmpeg 5.1, GStreamer 1.22, curl 7.88, GNU wget 1.21 and
// python-requests 2.34; written as their sources do for live555 (which VLC uses;
// it always signs Content-Base) and yellowstone 3 (no spaces; the track in all
// that follows SETUP).
func clientAnswers() []clientAnswer {
	const lavf = `Digest username="m7", realm="camera", nonce="NONCE", uri="%s", response="%s", algorithm="MD5"`
	const plain = `Digest username="m7", realm="camera", nonce="NONCE", uri="%s", response="%s"`
	const tight = `Digest username="m7",realm="camera",nonce="NONCE",uri="%s",response="%s"`
	const curl = `Digest username="m7", realm="camera", nonce="NONCE", uri="%s", response="%s", algorithm=SHA-256`
	rtsp := func(client, method, path, format, uri, response string) clientAnswer {
		return clientAnswer{client, method, spokenTo + path, said(format, uri, response), rightAnswer}
	}
	get := func(client, format, uri, response string) clientAnswer {
		return clientAnswer{client, "GET", snapshotPath, said(format, uri, response), rightAnswer}
	}
	return []clientAnswer{
		rtsp("ffmpeg", "DESCRIBE", "/main", lavf, spokenTo+"/main", "fff429e3678ef579a0d8b57ca95ac336"),
		rtsp("ffmpeg", "SETUP", "/main/trackID=0", lavf, spokenTo+"/main/trackID=0", "4b82638960617e7981c8ed420571f3e3"),
		rtsp("ffmpeg", "PLAY", "/main/", lavf, spokenTo+"/main/", "b4efeac61323a9afd56c864cc054daf8"),
		rtsp("ffmpeg, query", "DESCRIBE", "/main?x=1", lavf, spokenTo+"/main?x=1", "2ecaba77d2ee7ba9ae19184046c67e8a"),
		rtsp("ffmpeg, query", "SETUP", "/main?x=1/trackID=0", lavf, spokenTo+"/main?x=1/trackID=0", "89a0aeb58b7dc4f00ee5c137f3db7084"),
		rtsp("ffmpeg, query", "PLAY", "/main?x=1/", lavf, spokenTo+"/main?x=1/", "76107c5c792261ebbe696f9ada4107c0"),
		rtsp("GStreamer", "SETUP", "/main/trackID=0", plain, spokenTo+"/main/trackID=0", "4b82638960617e7981c8ed420571f3e3"),
		rtsp("GStreamer", "PLAY", "/main/", plain, spokenTo+"/main/", "b4efeac61323a9afd56c864cc054daf8"),
		// It resolves the track as RFC 3986 says, and so loses the path.
		rtsp("GStreamer, query", "SETUP", "/trackID=0", plain, spokenTo+"/trackID=0", "254c2a4d44fec467a369b3cd04fb6bcb"),
		rtsp("live555", "DESCRIBE", "/main", plain, spokenTo+"/main", "fff429e3678ef579a0d8b57ca95ac336"),
		rtsp("live555", "SETUP", "/main/trackID=0", plain, spokenTo+"/main/", "81b9adb9cff8fef7a4e363aed7f3f355"),
		rtsp("live555", "PLAY", "/main/", plain, spokenTo+"/main/", "b4efeac61323a9afd56c864cc054daf8"),
		rtsp("live555, query", "SETUP", "/main?x=1/trackID=0", plain, spokenTo+"/main?x=1/", "8dac758de0c331eb2e976fa751697843"),
		rtsp("yellowstone", "SETUP", "/main/trackID=0", tight, spokenTo+"/main/trackID=0", "4b82638960617e7981c8ed420571f3e3"),
		rtsp("yellowstone", "PLAY", "/main/trackID=0", tight, spokenTo+"/main/trackID=0", "2b052ae7257a77f46b5a1ef18a846d81"),
		rtsp("path alone", "DESCRIBE", "/main", plain, "/main", "c8da1a60ef5674879ebfb7fd49658d34"),
		rtsp("by name behind a gateway", "DESCRIBE", "/main", plain, "rtsp://camera.local/main", "7055b55bfaa0d804b14387d93f9ba7cc"),
		rtsp("scheme in small letters", "DESCRIBE", "/main", "d"+plain[1:], spokenTo+"/main", "fff429e3678ef579a0d8b57ca95ac336"),
		get("curl", curl, snapshotPath, "f7b949569fd1e5b4f026b602cbbb7f32418e53996ba00b0d1cee097dce45a6a7"),
		get("wget, requests", lavf, snapshotPath, "2dfdae85460c2cb26568803be8723b41"),
		get("whole address", lavf, "http://127.0.0.1:18554"+snapshotPath, "e5dde2c3de6d978e00194e28ce84e705"),
	}
}

// otherAnswers are not let in; those that tell nothing about the password are
// not held against anybody.
func otherAnswers() []clientAnswer {
	const plain = `Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s"`
	main := spokenTo + "/main"
	right := "fff429e3678ef579a0d8b57ca95ac336"
	ask := func(client, answer string, want verdict) clientAnswer {
		return clientAnswer{client, "DESCRIBE", main, answer, want}
	}
	older := digest("m7", password, "DESCRIBE", main, "00ff")
	return []clientAnswer{
		ask("none", "", noAnswer),
		ask("Basic, right", "Basic bTc6Y29ycmVjdC1ob3JzZQ==", noAnswer),
		ask("Basic, wrong", "Basic bTc6d3Jvbmc=", noAnswer),
		ask("nonsense", "Digest", noAnswer),
		ask("nonsense", `Digest username="m7"`, noAnswer),
		ask("other algorithm", said(plain+`, algorithm=SHA-512-256`, user, realm, givenNonce, main, right), noAnswer),
		ask("other realm", said(plain, user, "toaster", givenNonce, main, right), noAnswer),
		ask("nobody", said(plain, "", realm, givenNonce, main, right), noAnswer),
		ask("other stream", said(plain, user, realm, givenNonce, spokenTo+"/sub", "d8066882f7454ffbed705b70a16866a7"), noAnswer),
		ask("nonce of the connection before", said(plain, user, realm, "00ff", main, older), staleAnswer),
		ask("wrong password", said(plain, user, realm, givenNonce, main, digest(user, "wrong", "DESCRIBE", main, givenNonce)), wrongAnswer),
		ask("wrong password, other nonce", said(plain, user, realm, "00ff", main, digest(user, "wrong", "DESCRIBE", main, "00ff")), wrongAnswer),
		ask("wrong password, other stream", said(plain, user, realm, givenNonce, spokenTo+"/sub", right), wrongAnswer),
		ask("wrong user", said(plain, "owner", realm, givenNonce, main, digest("owner", password, "DESCRIBE", main, givenNonce)), wrongAnswer),
		ask("user without a password", said(plain, "empty", realm, givenNonce, main, digest("empty", "", "DESCRIBE", main, givenNonce)), wrongAnswer),
		ask("other method", said(plain, user, realm, givenNonce, main, digest(user, password, "PLAY", main, givenNonce)), wrongAnswer),
		ask("response of nothing", said(plain, user, realm, givenNonce, main, ""), wrongAnswer),
	}
}

// digest is RFC 2069.
func digest(user, password, method, uri, nonce string) string {
	h := func(s string) string { b := md5.Sum([]byte(s)); return hex.EncodeToString(b[:]) }
	return h(h(user+":"+realm+":"+password) + ":" + nonce + ":" + h(method+":"+uri))
}

func TestS3_AnswersOfRealClients(t *testing.T) {
	t.Parallel()
	s := New(Config{}, nil, func(u string) (string, bool) {
		p, ok := map[string]string{user: password, "empty": ""}[u]
		return p, ok
	}, nil)
	for _, c := range append(clientAnswers(), otherAnswers()...) {
		u, err := url.Parse(c.url)
		require.NoError(t, err)
		req := challenged{method: c.method, url: u, fresh: func(n string) bool { return n == givenNonce }}
		if c.answer != "" {
			req.answer = []string{c.answer}
		}
		who, with, got := s.judge(req)
		require.Equal(t, c.want, got, "%s: %s %s: %s", c.client, c.method, c.url, c.answer)
		if c.want == rightAnswer {
			require.Equal(t, user+" "+password, who+" "+with)
		} else {
			require.Empty(t, who+with)
		}
	}
}

func TestS3_AChallengeCanBeReadByAll(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		`Digest realm="camera", nonce="00ff", algorithm="SHA-256"`,
		`Digest realm="camera", nonce="00ff", algorithm="MD5"`,
	}, challenge("00ff", false))
	for _, c := range challenge("00ff", true) {
		var realm, nonce, stale string // as live555 reads it
		n, err := fmt.Sscanf(c, `Digest realm=%q, nonce=%q, stale=%4s`, &realm, &nonce, &stale)
		require.NoError(t, err)
		require.Equal(t, 3, n)
		require.Equal(t, "true", stale)
	}
}
