// SPDX-License-Identifier: Apache-2.0

package custody_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func now() time.Time { return noon }

var owner = custody.Owner{Kind: "account-key", Name: "issuer/lab"}

// fileKey makes a wrapping key in a file.
func fileKey(t testing.TB) *custody.FileKey {
	t.Helper()
	w, err := custody.OpenFile(filepath.Join(t.TempDir(), "wrapping.key"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func openCustody(t testing.TB, c custody.Config) *custody.Custody {
	t.Helper()
	if c.Now == nil {
		c.Now = now
	}
	one, err := custody.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return one
}

// sqliteStore opens a store in a file, and says where that is.
func sqliteStore(t testing.TB) (*store.DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tally.db")
	return storetest.Open(t, path), path
}

// signs fails the test unless a signer signs for a public key.
func signs(t testing.TB, signer crypto.Signer, public any) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: sha256Number()}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if !c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(public) {
		t.Fatal("it signs with another key")
	}
	if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		t.Fatal(err)
	}
}

func TestKeysAndSecretsComeBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		key := fileKey(t)
		c := openCustody(t, custody.Config{DB: db, Wrapper: key})
		publics := map[string]any{}
		for _, kind := range custody.KeyTypes() {
			if kind == custody.RSA3072 || kind == custody.RSA4096 {
				continue // they take seconds to make, and differ in a number
			}
			id, signer, err := c.NewKey(t.Context(), kind, owner)
			if err != nil {
				t.Fatal(kind, err)
			}
			publics[id] = signer.Public()
		}
		secret := []byte("the EAB key of an account")
		kept, err := c.Put(t.Context(), custody.Owner{Kind: "eab-key", Name: "acme/7"}, secret)
		if err != nil {
			t.Fatal(err)
		}
		c = openCustody(t, custody.Config{DB: db, Wrapper: key})
		for id, public := range publics {
			signer, err := c.Signer(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			signs(t, signer, public)
		}
		if got, err := c.Get(t.Context(), kept); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := c.Signer(t.Context(), kept); !errors.Is(err, tallystick.ErrInvalid) {
			t.Error("a secret that is not a key signs:", err)
		}
		if _, err := c.Get(t.Context(), "no-such-id"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestImportedKeys(t *testing.T) {
	db, _ := sqliteStore(t)
	c := openCustody(t, custody.Config{DB: db, Wrapper: fileKey(t)})
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := c.ImportKey(t.Context(), owner, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := c.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := x509.ParsePKCS8PrivateKey(der); err != nil || !key.Equal(got.(crypto.PrivateKey)) {
		t.Error("it is another key", err)
	}
	if _, err := c.ImportKey(t.Context(), owner, foreignSigner{key}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
}

// A foreignSigner is of no type that we know.
type foreignSigner struct{ crypto.Signer }

func TestBadRequests(t *testing.T) {
	db, _ := sqliteStore(t)
	c := openCustody(t, custody.Config{DB: db, Wrapper: fileKey(t)})
	for what, err := range map[string]error{
		"no secret":           second(c.Put(t.Context(), owner, nil)),
		"a large one":         second(c.Put(t.Context(), owner, make([]byte, custody.MaxSecret+1))),
		"no owner":            second(c.Put(t.Context(), custody.Owner{Kind: "eab-key"}, []byte("x"))),
		"an owner with lines": second(c.Put(t.Context(), custody.Owner{Kind: "a\nb", Name: "c"}, []byte("x"))),
		"a sort of key":       third(c.NewKey(t.Context(), "dsa-1024", owner)),
		"no device":           third(c.NewDeviceKey(t.Context(), custody.P256, owner)),
	} {
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }

// What is searched for in the files is the key as it is encoded, and the number
// that it consists of.
func TestNothingSecretIsInTheFiles(t *testing.T) {
	db, path := sqliteStore(t)
	c := openCustody(t, custody.Config{DB: db, Wrapper: fileKey(t)})
	id, signer, err := c.NewKey(t.Context(), custody.P256, owner)
	if err != nil {
		t.Fatal(err)
	}
	d, err := signer.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	der, err := c.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	marker := []byte("correct horse battery staple")
	if _, err := c.Put(t.Context(), owner, marker); err != nil {
		t.Fatal(err)
	}
	if err := c.Rewrap(t.Context(), fileKey(t), nil); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found = found || bytes.Contains(text, []byte(owner.Name)) // or the search finds nothing
		for what, secret := range map[string][]byte{"the number": d, "the encoded key": der, "a part of it": der[30:62], "the secret": marker} {
			if bytes.Contains(text, secret) {
				t.Errorf("%s is in %s", what, filepath.Base(file))
			}
		}
	}
	if !found || len(files) < 2 {
		t.Errorf("the row is in none of %v", files)
	}
}

// Whatever is changed in a row, and whichever row is put in the place of another,
// is noticed.
func TestChangedRowsAreDamaged(t *testing.T) {
	db, path := sqliteStore(t)
	key := fileKey(t)
	c := openCustody(t, custody.Config{DB: db, Wrapper: key})
	one, err := c.Put(t.Context(), custody.Owner{Kind: "eab-key", Name: "acme/1"}, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.Put(t.Context(), custody.Owner{Kind: "eab-key", Name: "acme/2"}, []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	ca, _, err := c.NewKey(t.Context(), custody.P256, custody.Owner{Kind: "ca-key", Name: "ca/lab"})
	if err != nil {
		t.Fatal(err)
	}
	keep := `CREATE TABLE kept_rows AS SELECT * FROM secrets`
	storetest.Exec(t, path, keep)
	for what, change := range map[string]string{
		"another's ciphertext":      `UPDATE secrets SET (wrapped, sealed) = (SELECT wrapped, sealed FROM kept_rows k WHERE k.id = '` + two + `') WHERE id = '` + one + `'`,
		"another's data key":        `UPDATE secrets SET wrapped = (SELECT wrapped FROM kept_rows k WHERE k.id = '` + two + `') WHERE id = '` + one + `'`,
		"another's id":              `UPDATE secrets SET id = CASE id WHEN '` + one + `' THEN '` + two + `-' ELSE '` + one + `' END WHERE id IN ('` + one + `', '` + two + `')`,
		"another owner":             `UPDATE secrets SET owner = 'acme/2'`,
		"another kind":              `UPDATE secrets SET kind = 'ca-key', owner = owner || 'x'`,
		"another public key":        `UPDATE secrets SET public = x'00'`,
		"a bit of the ciphertext":   `UPDATE secrets SET sealed = substr(sealed, 1, length(sealed) - 1) || CASE substr(sealed, -1) WHEN x'00' THEN x'01' ELSE x'00' END`,
		"no ciphertext":             `UPDATE secrets SET sealed = x''`,
		"no data key":               `UPDATE secrets SET wrapped = x''`,
		"another form":              `UPDATE secrets SET sealed = x'02' || substr(sealed, 2)`,
		"a secret that is too long": `UPDATE secrets SET sealed = x'01' || zeroblob(70000)`,
	} {
		storetest.Exec(t, path, change)
		fresh := openCustody(t, custody.Config{DB: db, Wrapper: key})
		if got, err := fresh.Get(t.Context(), one); !errors.Is(err, tallystick.ErrDamaged) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		if _, err := fresh.Signer(t.Context(), ca); strings.Contains(change, "'"+one+"'") == (err != nil) {
			t.Errorf("%s: the key of the CA: %v", what, err)
		}
		storetest.Exec(t, path, `DELETE FROM secrets`)
		storetest.Exec(t, path, `INSERT INTO secrets SELECT * FROM kept_rows`)
	}
	if got, err := c.Get(t.Context(), one); err != nil || string(got) != "one" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDestroyed(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		db := storetest.Open(t, url)
		key := fileKey(t)
		c := openCustody(t, custody.Config{DB: db, Wrapper: key})
		id, _, err := c.NewKey(t.Context(), custody.P256, owner)
		if err != nil {
			t.Fatal(err)
		}
		row, err := db.Secret(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.Destroy(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Signer(t.Context(), id); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error("it is still there:", err)
		}
		gone, err := db.Secret(t.Context(), id)
		if err != nil || !gone.Destroyed.Equal(noon) || bytes.Trim(gone.Wrapped, "\x00") != nil && len(bytes.Trim(gone.Wrapped, "\x00")) > 0 {
			t.Errorf("%+v, %v", gone, err)
		}
		if !strings.HasSuffix(url, ".db") {
			return
		}
		text, err := os.ReadFile(url)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, row.Sealed) || bytes.Contains(text, row.Wrapped) {
			t.Error("the database still holds what was destroyed")
		}
		if err := c.Destroy(t.Context(), "no-such-id"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestWrongKey(t *testing.T) {
	db, path := sqliteStore(t)
	key := fileKey(t)
	c := openCustody(t, custody.Config{DB: db, Wrapper: key})
	if keys, err := db.WrappingKeys(t.Context()); err != nil || len(keys) != 0 {
		t.Fatal("something was written before there was a secret", keys, err)
	}
	openCustody(t, custody.Config{DB: db, Wrapper: fileKey(t)}) // nothing is there that it could be wrong for
	id, err := c.Put(t.Context(), owner, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	other := fileKey(t)
	_, err = custody.Open(t.Context(), custody.Config{DB: db, Wrapper: other, Now: now})
	if !errors.Is(err, custody.ErrWrongKey) || !strings.Contains(err.Error(), key.Identity().ID) {
		t.Error(err)
	}
	// One that calls itself the same is noticed by the proof.
	_, err = custody.Open(t.Context(), custody.Config{DB: db, Wrapper: named{other, key.Identity()}, Now: now})
	if !errors.Is(err, custody.ErrWrongKey) {
		t.Error(err)
	}
	storetest.Exec(t, path, `UPDATE wrapping_keys SET proof = (SELECT sealed FROM secrets WHERE id = '`+id+`')`)
	if _, err := custody.Open(t.Context(), custody.Config{DB: db, Wrapper: key, Now: now}); !errors.Is(err, custody.ErrWrongKey) {
		t.Error(err)
	}
}

// A named wrapper calls itself something else.
type named struct {
	custody.Wrapper
	identity custody.Identity
}

func (n named) Identity() custody.Identity { return n.identity }

// A switch is a wrapping key that can be taken away.
type switchable struct {
	custody.Wrapper
	away  atomic.Bool
	asked atomic.Int64
}

func (s *switchable) Wrap(ctx context.Context, key, aad []byte) ([]byte, error) {
	if s.asked.Add(1); s.away.Load() {
		return nil, fmt.Errorf("%w: unplugged", tallystick.ErrUnavailable)
	}
	return s.Wrapper.Wrap(ctx, key, aad)
}

func (s *switchable) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if s.asked.Add(1); s.away.Load() {
		return nil, fmt.Errorf("%w: unplugged", tallystick.ErrUnavailable)
	}
	return s.Wrapper.Unwrap(ctx, wrapped, aad)
}

func TestAwayForAWhile(t *testing.T) {
	db, _ := sqliteStore(t)
	key := &switchable{Wrapper: fileKey(t)}
	c := openCustody(t, custody.Config{DB: db, Wrapper: key})
	id, signer, err := c.NewKey(t.Context(), custody.P256, owner)
	if err != nil {
		t.Fatal(err)
	}
	key.away.Store(true)
	c = openCustody(t, custody.Config{DB: db, Wrapper: key}) // the server starts
	asked := key.asked.Load()
	var workers sync.WaitGroup
	for range 20 {
		workers.Go(func() {
			if _, err := c.Signer(t.Context(), id); !errors.Is(err, tallystick.ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	workers.Wait()
	if more := key.asked.Load() - asked; more > 2 {
		t.Errorf("what is away was asked %d times", more)
	}
	if _, err := c.Put(t.Context(), owner, []byte("x")); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Error(err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.State != custody.StateAway || s.Keys[0].Kept() != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	key.away.Store(false)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, err := c.Signer(t.Context(), id)
		if err == nil {
			signs(t, got, signer.Public())
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not come back:", err)
		}
	}
	key.away.Store(true)
	if got, err := c.Signer(t.Context(), id); err != nil {
		t.Error("a key that is ready needs no wrapping key:", err)
	} else {
		signs(t, got, signer.Public())
	}
}

func TestManyAtOnce(t *testing.T) {
	db, _ := sqliteStore(t)
	key := &switchable{Wrapper: fileKey(t)}
	c := openCustody(t, custody.Config{DB: db, Wrapper: key})
	id, signer, err := c.NewKey(t.Context(), custody.P256, owner)
	if err != nil {
		t.Fatal(err)
	}
	c = openCustody(t, custody.Config{DB: db, Wrapper: key})
	asked := key.asked.Load()
	digest := sha256.Sum256([]byte("x"))
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			got, err := c.Signer(t.Context(), id)
			if err != nil {
				t.Error(err)
				return
			}
			signature, err := got.Sign(rand.Reader, digest[:], crypto.SHA256)
			if err != nil || !ecdsa.VerifyASN1(signer.Public().(*ecdsa.PublicKey), digest[:], signature) {
				t.Error("it does not sign:", err)
			}
			if _, err := c.Put(t.Context(), owner, digest[:]); err != nil {
				t.Error(err)
			}
		})
	}
	workers.Wait()
	// Once for the key, and once for each secret; more for the proof.
	if more := key.asked.Load() - asked; more > 32+3 {
		t.Errorf("the wrapping key was asked %d times", more)
	}
}

func TestLineage(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		clock := noon
		tick := func() time.Time { return clock }
		a, b := fileKey(t), fileKey(t)
		c := openCustody(t, custody.Config{DB: db, Wrapper: a, Now: tick})
		first, err := c.Put(t.Context(), owner, []byte("1"))
		if err != nil {
			t.Fatal(err)
		}
		clock = noon.Add(time.Hour)
		if err := c.Rewrap(t.Context(), b, nil); err != nil {
			t.Fatal(err)
		}
		clock = noon.Add(2 * time.Hour)
		second, err := c.Put(t.Context(), owner, []byte("2"))
		if err != nil {
			t.Fatal(err)
		}
		clock = noon.Add(3 * time.Hour)
		if err := c.Destroy(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		one := custody.Readable{ID: first, Kind: owner.Kind, Owner: owner.Name, Created: noon, Destroyed: noon.Add(3 * time.Hour), Since: noon, Until: noon.Add(time.Hour)}
		got, err := c.Readable(t.Context(), a.Identity().ID)
		if diff := cmp.Diff([]custody.Readable{one}, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
		one.Since, one.Until = noon.Add(time.Hour), time.Time{}
		two := custody.Readable{ID: second, Kind: owner.Kind, Owner: owner.Name, Created: noon.Add(2 * time.Hour), Since: noon.Add(2 * time.Hour)}
		want := []custody.Readable{one, two}
		if first > second {
			want = []custody.Readable{two, one}
		}
		got, err = c.Readable(t.Context(), b.Identity().ID)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if _, err := c.Readable(t.Context(), "file:0"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
	})
}
