package rtsp

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/mikey"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// SRTP (RFC 3711) with AES_CM_128_HMAC_SHA1_80, the one profile of all clients.
const (
	masterKey    = 16 // bytes
	masterSalt   = 14
	sealOverhead = 14 // bytes that a packet of RTCP grows by; one of RTP by 10

	roundTime = 2 * time.Second // before numbers go round
	roundWait = 5 * time.Second
)

// sealer encrypts what goes to one viewer, or to one multicast group: each track
// with a random key of its own. No two numberings of packets ever share a key, or
// one would give away the other.
type sealer struct {
	keys [][]byte // by track, key and salt

	mu     sync.Mutex
	tracks []*srtp.Context
	counts []numbering // by track
	header rtp.Header  // scratch
}

// numbering is how the packets of a track are counted.
type numbering struct {
	newest uint16 // sequence number
	first  time.Time
	sent   uint64
}

func newSealer(tracks int) (*sealer, error) {
	s := &sealer{counts: make([]numbering, tracks)}
	for range tracks {
		k := make([]byte, masterKey+masterSalt)
		rand.Read(k) //nolint:errcheck // never fails
		c, err := newContext(k)
		if err != nil {
			return nil, fmt.Errorf("begin SRTP: %w", err)
		}
		s.keys, s.tracks = append(s.keys, k), append(s.tracks, c)
	}
	return s, nil
}

func newContext(key []byte, options ...srtp.ContextOption) (*srtp.Context, error) {
	if len(key) != masterKey+masterSalt {
		return nil, fmt.Errorf("a key of %d bytes", len(key))
	}
	return srtp.CreateContext(key[:masterKey], key[masterKey:], srtp.ProtectionProfileAes128CmHmacSha1_80, options...)
}

// seal writes a packet, encrypted, behind dst, which must have room for
// sealOverhead more than it has.
func (s *sealer) seal(dst, packet []byte, track int, control bool) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := len(dst)
	var b []byte
	var err error
	if control {
		b, err = s.tracks[track].EncryptRTCP(dst[at:at], packet, nil)
	} else {
		b, err = s.tracks[track].EncryptRTP(dst[at:at], packet, &s.header)
		s.counts[track].note(s.header.SequenceNumber)
	}
	if err != nil {
		return dst, fmt.Errorf("encrypt: %w", err)
	}
	return dst[:at+len(b)], nil
}

// settled waits, for a while, until no numbering is about to go round: how often
// it has is part of what a key is told with, and a viewer that joins a group just
// then would count one too few for good.
func (s *sealer) settled(ctx context.Context) {
	for end := time.Now().Add(roundWait); s.aboutToGoRound() && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(roundWait / 100):
		}
	}
}

func (s *sealer) aboutToGoRound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.counts {
		if s.counts[i].left() < roundTime {
			return true
		}
	}
	return false
}

func (n *numbering) note(number uint16) {
	if n.sent == 0 {
		n.first = time.Now()
	}
	n.newest = number
	n.sent++
}

// left is how long it takes until the numbers go round, as fast as they came.
func (n *numbering) left() time.Duration {
	if n.sent == 0 {
		return roundTime
	}
	each := max(time.Since(n.first), time.Second) / time.Duration(n.sent)
	return time.Duration(1<<16-int(n.newest)) * each
}

// message tells the key of a track (MIKEY, RFC 3830 and RFC 7826, C.1.4.1); only
// ever over TLS.
func (s *sealer) message(track int, ssrc uint32) *mikey.Message {
	s.mu.Lock()
	roc, _ := s.tracks[track].ROC(ssrc)
	s.mu.Unlock()
	random := make([]byte, 16)
	rand.Read(random) //nolint:errcheck // never fails
	policy := func(kind mikey.PayloadSPPolicyParamType, value byte) mikey.PayloadSPPolicyParam {
		return mikey.PayloadSPPolicyParam{Type: kind, Value: []byte{value}}
	}
	return &mikey.Message{
		Header: mikey.Header{Version: 1, CSBID: random32(), CSIDMapInfo: []mikey.SRTPIDEntry{{SSRC: ssrc, ROC: roc}}},
		Payloads: []mikey.Payload{
			&mikey.PayloadT{TSValue: ntpTime(time.Now())},
			&mikey.PayloadRAND{Data: random},
			&mikey.PayloadSP{PolicyParams: []mikey.PayloadSPPolicyParam{
				policy(mikey.PayloadSPPolicyParamTypeEncrAlg, 1), // AES-CM
				policy(mikey.PayloadSPPolicyParamTypeSessionEncrKeyLen, masterKey),
				policy(mikey.PayloadSPPolicyParamTypeAuthAlg, 1), // HMAC-SHA-1
				policy(mikey.PayloadSPPolicyParamTypeSessionAuthKeyLen, 10),
				policy(mikey.PayloadSPPolicyParamTypeSRTPEncrOffOn, 1),
				policy(mikey.PayloadSPPolicyParamTypeSRTCPEncrOffOn, 1),
				policy(mikey.PayloadSPPolicyParamTypeSRTPAuthOffOn, 1),
			}},
			&mikey.PayloadKEMAC{SubPayloads: []*mikey.SubPayloadKeyData{{Type: mikey.SubPayloadKeyDataKeyTypeTEK, KeyData: s.keys[track]}}},
		},
	}
}

// keyOf reads a key from a client's message.
func keyOf(m *mikey.Message) []byte {
	for _, p := range m.Payloads {
		if k, ok := p.(*mikey.PayloadKEMAC); ok && len(k.SubPayloads) == 1 {
			return k.SubPayloads[0].KeyData
		}
	}
	return nil
}

// sealedSink encrypts packets on their way to another sink.
type sealedSink struct {
	sink
	sealer  *sealer
	what    [256]uint8 // by channel: twice the track, and 1 if it is RTCP
	buffers *sync.Pool
}

func newSealedSink(to sink, s *sealer, tracks []track, buffers *sync.Pool) *sealedSink {
	k := &sealedSink{sink: to, sealer: s, buffers: buffers}
	for i := range tracks {
		if t := &tracks[i]; t.on { // or its channel says nothing, and would be taken for another's
			k.what[t.channel], k.what[t.channel+1] = uint8(2*i), uint8(2*i+1)
		}
	}
	return k
}

func (k *sealedSink) send(b []byte) error {
	lent := k.buffers.Get().(*[]byte)
	defer k.buffers.Put(lent)
	out := (*lent)[:0]
	for len(b) > frameHeader {
		n := frameHeader + int(b[2])<<8 + int(b[3])
		if len(out)+n+sealOverhead > cap(out) {
			if err := k.sink.send(out); err != nil {
				return err
			}
			out = out[:0]
		}
		var err error
		if out, err = k.frame(out, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return k.sink.send(out)
}

// frame adds a packet in its interleaved frame, encrypted.
func (k *sealedSink) frame(out, plain []byte) ([]byte, error) {
	at, what := len(out), int(k.what[plain[1]])
	out = append(out, plain[:frameHeader]...)
	out, err := k.sealer.seal(out, plain[frameHeader:], what/2, what&1 == 1)
	n := len(out) - at - frameHeader
	out[at+2], out[at+3] = byte(n>>8), byte(n)
	return out, err
}
