package ask

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cmd/camcloud/internal/grant"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
)

const bindID = "00112233445566778899aabbccddeeff"

// desk answers with a storage that is never dialled, and believes every receipt
// that is JSON: what verifying is worth is tested where it is done.
func desk(t testing.TB) *Desk {
	t.Helper()
	st, err := store.Open(t.TempDir())
	require.NoError(t, err)
	storage, err := grant.New(grant.Options{Endpoint: "127.0.0.1:1", Region: "r", Bucket: "bucket", AccessKey: "a", SecretKey: cloud.NewSecret("s"), PathStyle: true})
	require.NoError(t, err)
	return &Desk{Store: st, Storage: storage, Log: zap.NewNop(),
		Verify: func(receipt, chain string) (cloud.Receipt, identity.Device, error) {
			var r cloud.Receipt
			if json.Unmarshal([]byte(receipt), &r) != nil {
				return r, identity.Device{}, errors.New("forged")
			}
			return r, identity.Device{Serial: cloud.Serial(chain)}, nil
		},
	}
}

func (d *Desk) ask(t *testing.T, serial cloud.Serial, kind string, body any) cloud.Answer {
	t.Helper()
	b, err := json.Marshal(body)
	require.NoError(t, err)
	q, err := json.Marshal(cloud.Ask{V: 1, ID: "1", Kind: kind, Body: b})
	require.NoError(t, err)
	var a cloud.Answer
	require.NoError(t, json.Unmarshal(d.Answer(t.Context(), serial, q), &a))
	require.Equal(t, "1", a.ID)
	return a
}

func notice(t *testing.T, signer cloud.Serial, r cloud.Receipt, token cloud.Secret) cloud.ReceiptNotice {
	t.Helper()
	b, err := json.Marshal(r)
	require.NoError(t, err)
	return cloud.ReceiptNotice{Receipt: string(b), Chain: signer.Plain(), Token: token.Reveal()}
}

func TestM7_ReceiptMustBeTheAskersOwn(t *testing.T) {
	t.Parallel()
	d := desk(t)
	cam, other := cloud.NewSerial(), cloud.NewSerial()
	token, _, err := d.Store.Claim("anna", cam)
	require.NoError(t, err)
	r := cloud.Receipt{Statement: cloud.Statement{V: 1, Serial: cam, Epoch: 1, BindID: bindID}, Token: store.Hash(token.Reveal())}
	require.True(t, d.ask(t, other, cloud.AskReceipt, notice(t, cam, r, token)).Final, "handed in by another camera")
	require.True(t, d.ask(t, cam, cloud.AskReceipt, notice(t, other, r, token)).Final, "signed by another camera")
	require.True(t, d.ask(t, cam, cloud.AskReceipt, cloud.ReceiptNotice{Receipt: "x"}).Final, "forged")
	for _, bad := range []string{"", "../" + bindID[3:], strings.ToUpper(bindID), bindID + "0", bindID[1:]} {
		worse := r
		worse.BindID = bad
		require.True(t, d.ask(t, cam, cloud.AskReceipt, notice(t, cam, worse, token)).Final, bad)
	}
	_, bound := d.Store.Binding(cam)
	require.False(t, bound)
	require.Empty(t, d.ask(t, cam, cloud.AskReceipt, notice(t, cam, r, token)).Error)
}

func TestP13_TheAccountThatLosesACameraIsTold(t *testing.T) {
	t.Parallel()
	d := desk(t)
	var lost []string
	d.Lost = func(account string) { lost = append(lost, account) }
	cam := cloud.NewSerial()
	for i, account := range []string{"anna", "anna", "bob"} {
		token, _, err := d.Store.Claim(account, cam)
		require.NoError(t, err)
		r := cloud.Receipt{Statement: cloud.Statement{V: 1, Serial: cam, Epoch: uint64(i + 1), BindID: bindID}, Token: store.Hash(token.Reveal())}
		require.Empty(t, d.ask(t, cam, cloud.AskReceipt, notice(t, cam, r, token)).Error)
	}
	require.Equal(t, []string{"anna"}, lost)
}

// A fault of the cloud's own is not final, and its words stay inside.
func TestR2_FaultsAreNotFinal(t *testing.T) {
	t.Parallel()
	d := desk(t)
	text, final := d.tell(cloud.NewSerial(), "grant", errors.New("disk full at /var"))
	require.False(t, final)
	require.NotContains(t, text, "/var")
}

func TestS4_WhatHasNoIDIsIgnoredAndCounted(t *testing.T) {
	t.Parallel()
	d := desk(t)
	for i, bad := range []string{"", "{", "[]", "null", `{"v":1,"kind":"grant"}`, `{"id":7}`, `{"id":"` + strings.Repeat("a", maxID+1) + `"}`, strings.Repeat(" ", cloud.MaxMessage+1)} {
		require.Nil(t, d.Answer(t.Context(), cloud.NewSerial(), []byte(bad)), bad)
		require.Equal(t, uint64(i+1), d.Ignored())
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"1","kind":"grant","body":{"key":"S/` + bindID + `/a.age","size":1,"sha256":"` + strings.Repeat("0", 64) + `"}}`))
	f.Add([]byte(`{"v":1,"id":"1","kind":"receipt","body":{"receipt":"{}","chain":"x","token":"y"}}`))
	f.Add([]byte(`{"v":2,"id":"1","kind":""}`))
	d := desk(f)
	cam := cloud.NewSerial()
	token, _, err := d.Store.Claim("anna", cam)
	require.NoError(f, err)
	r := cloud.Receipt{Statement: cloud.Statement{V: 1, Serial: cam, Epoch: 1, BindID: bindID}, Token: store.Hash(token.Reveal())}
	_, err = d.Store.Book(r, token)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, payload []byte) {
		out := d.Answer(t.Context(), cam, payload)
		if out == nil {
			return
		}
		var a cloud.Answer
		if err := json.Unmarshal(out, &a); err != nil || a.ID == "" || len(out) > cloud.MaxMessage {
			t.Fatalf("bad answer %.200q: %v", out, err)
		}
		var g cloud.Grant
		if len(a.Body) > 0 && json.Unmarshal(a.Body, &g) == nil && g.Put.URL != "" &&
			!strings.HasPrefix(g.Put.URL, "https://127.0.0.1:1/bucket/"+cam.Plain()+"/"+bindID+"/") {
			t.Fatalf("grant outside the own binding: %s", g.Put.URL)
		}
	})
}
