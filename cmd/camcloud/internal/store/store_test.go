package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

const bindID = "00112233445566778899aabbccddeeff"

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	require.NoError(t, err)
	return s
}

// receipt is a verified receipt of a binding that names the claim token.
func receipt(serial cloud.Serial, epoch uint64, id string, token cloud.Secret) cloud.Receipt {
	return cloud.Receipt{Statement: cloud.Statement{V: 1, Serial: serial, Epoch: epoch, BindID: id}, Token: Hash(token.Reveal())}
}

func claim(t *testing.T, s *Store, account string, serial cloud.Serial) cloud.Secret {
	t.Helper()
	token, _, err := s.Claim(account, serial)
	require.NoError(t, err)
	return token
}

func TestM7_BookingSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir, serial := t.TempDir(), cloud.NewSerial()
	s := open(t, dir)
	token := claim(t, s, "anna", serial)
	s = open(t, dir) // the claim survives, too
	_, err := s.Book(receipt(serial, 3, bindID, token), token)
	require.NoError(t, err)
	b, ok := open(t, dir).Binding(serial)
	require.True(t, ok)
	require.Equal(t, "anna", b.Account)
	require.Equal(t, uint64(3), b.Epoch)
	require.Equal(t, bindID, b.BindID)
	require.Len(t, s.Bindings("anna"), 1)
	require.Empty(t, s.Bindings("bob"))
}

func TestM7_ClaimTokenIsUsedOnce(t *testing.T) {
	t.Parallel()
	s, serial := open(t, t.TempDir()), cloud.NewSerial()
	token := claim(t, s, "anna", serial)
	r := receipt(serial, 1, bindID, token)
	_, err := s.Book(r, token)
	require.NoError(t, err)
	_, err = s.Book(r, token)
	require.NoError(t, err, "the same receipt may come again: its answer may have been lost")
	_, err = s.Book(receipt(serial, 2, strings.Repeat("b", 32), token), token)
	require.ErrorIs(t, err, ErrClaim)
}

func TestM7_ClaimTokenExpires(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, serial := open(t, dir), cloud.NewSerial()
		late, inTime := claim(t, s, "anna", serial), claim(t, s, "anna", serial)
		time.Sleep(ClaimLife - time.Second)
		_, err := s.Book(receipt(serial, 1, bindID, inTime), inTime)
		require.NoError(t, err)
		require.Len(t, s.Claims("anna"), 1)
		time.Sleep(time.Second)
		require.Empty(t, s.Claims("anna"))
		_, err = s.Book(receipt(serial, 2, bindID, late), late)
		require.ErrorIs(t, err, ErrClaim)
	})
}

func TestM7_ClaimTokenIsForOneCamera(t *testing.T) {
	t.Parallel()
	s, serial, other := open(t, t.TempDir()), cloud.NewSerial(), cloud.NewSerial()
	token := claim(t, s, "anna", serial)
	_, err := s.Book(receipt(other, 1, bindID, token), token)
	require.ErrorIs(t, err, ErrClaim, "another camera")
	guess := cloud.NewSecret("guess")
	_, err = s.Book(receipt(serial, 1, bindID, guess), guess)
	require.ErrorIs(t, err, ErrClaim, "unknown token")
	_, err = s.Book(receipt(serial, 1, bindID, guess), token)
	require.ErrorIs(t, err, ErrClaim, "the receipt names another token")
	_, err = s.Book(cloud.Receipt{Statement: cloud.Statement{Serial: serial, Epoch: 1, BindID: bindID}}, cloud.NewSecret(""))
	require.ErrorIs(t, err, ErrClaim, "no token")
	_, bound := s.Binding(serial)
	require.False(t, bound)
}

func TestS10_ReplayedAndOlderReceiptsAreRefused(t *testing.T) {
	t.Parallel()
	s, serial := open(t, t.TempDir()), cloud.NewSerial()
	first := claim(t, s, "anna", serial)
	old := receipt(serial, 1, bindID, first)
	_, err := s.Book(old, first)
	require.NoError(t, err)
	second := claim(t, s, "bob", serial)
	previous, err := s.Book(receipt(serial, 2, strings.Repeat("b", 32), second), second)
	require.NoError(t, err)
	require.Equal(t, "anna", previous)

	_, err = s.Book(old, first)
	require.ErrorIs(t, err, ErrEpoch)
	for epoch := range uint64(3) {
		token := claim(t, s, "anna", serial)
		_, err = s.Book(receipt(serial, epoch, strings.Repeat("c", 32), token), token)
		require.ErrorIs(t, err, ErrEpoch, "epoch %d", epoch)
	}
	b, _ := s.Binding(serial)
	require.Equal(t, "bob", b.Account)
}

func TestR6_ClaimsAndClientsAreLimited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir)
		for range MaxClaims {
			claim(t, s, "anna", cloud.NewSerial())
		}
		_, _, err := s.Claim("anna", cloud.NewSerial())
		require.ErrorIs(t, err, ErrLimit)
		claim(t, s, "bob", cloud.NewSerial())
		time.Sleep(ClaimLife)
		claim(t, s, "anna", cloud.NewSerial())
		files, err := os.ReadDir(filepath.Join(dir, "claims"))
		require.NoError(t, err)
		require.Len(t, files, 1, "expired claims are removed")

		end := time.Now().Add(time.Hour)
		for i := range MaxClients {
			require.NoError(t, s.AddClient(fmt.Sprint("c", i), "anna", end))
		}
		require.ErrorIs(t, s.AddClient("one-more", "anna", end), ErrLimit)
		require.NoError(t, s.AddClient("other", "bob", end))
		time.Sleep(time.Hour)
		require.NoError(t, s.AddClient("one-more", "anna", time.Now().Add(time.Hour)))
	})
}

func TestS8_TokensAreStoredAsHashes(t *testing.T) {
	t.Parallel()
	dir, serial := t.TempDir(), cloud.NewSerial()
	s := open(t, dir)
	account, err := s.Accounts.Add("anna")
	require.NoError(t, err)
	token := claim(t, s, "anna", serial)
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		info, err := d.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
		b, err := os.ReadFile(path)
		for _, secret := range []cloud.Secret{account, token} {
			require.NotContains(t, path+string(b), secret.Reveal())
		}
		return err
	}))
	require.Equal(t, 2, files)
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	outside, err := OpenAccounts(dir) // as `camcloud account` does beside a running cloud
	require.NoError(t, err)
	token, err := outside.Add("anna")
	require.NoError(t, err)
	name, err := s.Accounts.Authenticate(token)
	require.NoError(t, err)
	require.Equal(t, "anna", name)
	for _, bad := range []string{"", "guess", "../x", Hash(token.Reveal())} {
		_, err := s.Accounts.Authenticate(cloud.NewSecret(bad))
		require.ErrorIs(t, err, ErrUnknown, bad)
	}
	_, err = s.Accounts.Add("anna")
	require.ErrorIs(t, err, ErrExists)
	for _, bad := range []string{"", "Anna", "../x", "a b", strings.Repeat("a", 65)} {
		_, err := s.Accounts.Add(bad)
		require.Error(t, err, bad)
	}
	require.NoError(t, s.AddClient("client", "anna", time.Now().Add(time.Hour)))
	_, ok := s.ClientAccount("client")
	require.True(t, ok)
	require.NoError(t, outside.Remove("anna"))
	_, ok = s.ClientAccount("client")
	require.False(t, ok, "its account is gone")
	_, err = s.Accounts.Authenticate(token)
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorIs(t, outside.Remove("anna"), ErrUnknown)
}

func TestR2_CutAndDamagedRows(t *testing.T) {
	t.Parallel()
	dir, serial := t.TempDir(), cloud.NewSerial()
	s := open(t, dir)
	token := claim(t, s, "anna", serial)
	_, err := s.Book(receipt(serial, 1, bindID, token), token)
	require.NoError(t, err)
	row := filepath.Join(dir, "bindings", serial.Plain()+".json")
	require.NoError(t, os.WriteFile(row+".tmp", []byte("{"), 0o600)) // a write that was cut
	_, ok := open(t, dir).Binding(serial)
	require.True(t, ok)
	require.NoError(t, os.WriteFile(row, []byte("{"), 0o600))
	_, err = Open(dir)
	require.ErrorContains(t, err, row, "a damaged binding must not be taken for none")
}

func TestKeysCantLeaveTheFolder(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for _, id := range []string{"", "../x", "a/b", "a.b"} {
		require.Error(t, s.AddClient(id, "anna", time.Now().Add(time.Hour)), id)
	}
}
