// SPDX-License-Identifier: Apache-2.0

package custody_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/store"
)

// A transitDouble is a PROTOCOL DOUBLE and no OpenBao or Vault. It answers two calls
// of the transit engine and the login of AppRole as the public documentation says
// (https://openbao.org/api-docs/secret/transit/#encrypt-data, #decrypt-data,
// https://openbao.org/api-docs/auth/approle/#login-with-approle, and
// https://openbao.org/api-docs/#http-status-codes). What a real server does beside
// that is not tested here.
type transitDouble struct {
	t      *testing.T
	server *httptest.Server

	mu      sync.Mutex
	keys    []cipher.AEAD // by version, from 1
	token   string        // that is good now
	logins  int
	broken  int // a status that everything is answered with; 0 for none
	garbage string
}

func newTransitDouble(t *testing.T) *transitDouble {
	d := &transitDouble{t: t, token: "s." + rand.Text()}
	d.rotate()
	d.server = httptest.NewUnstartedServer(http.HandlerFunc(d.serve))
	d.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	d.server.StartTLS()
	t.Cleanup(d.server.Close)
	return d
}

// rotate adds a version of the key, which encrypts from now on.
func (d *transitDouble) rotate() {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		d.t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys = append(d.keys, aead)
}

// with changes how it answers.
func (d *transitDouble) with(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {why}})
}

func (d *transitDouble) serve(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	body := map[string]string{}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&body); err != nil || r.Method != http.MethodPost {
		refuse(w, http.StatusBadRequest, "failed to parse JSON input")
		return
	}
	answer := map[string]any{}
	switch {
	case d.broken == http.StatusFound:
		http.Redirect(w, r, "https://127.0.0.1:1/", d.broken)
		return
	case d.broken != 0:
		refuse(w, d.broken, "Vault is sealed")
		return
	case d.garbage != "":
		fmt.Fprint(w, d.garbage)
		return
	case r.URL.Path == "/v1/auth/approle/login":
		if body["role_id"] != "a-role" || body["secret_id"] != "a-secret-id" {
			refuse(w, http.StatusBadRequest, "invalid role or secret ID")
			return
		}
		d.logins++
		answer["auth"] = map[string]any{"client_token": d.token, "lease_duration": 1200, "renewable": true}
	case r.Header.Get("X-Vault-Token") != d.token:
		refuse(w, http.StatusForbidden, "permission denied")
		return
	case r.URL.Path == "/v1/transit/encrypt/tally":
		answer["data"] = d.encrypt(w, body)
	case r.URL.Path == "/v1/transit/decrypt/tally":
		answer["data"] = d.decrypt(w, body)
	default:
		refuse(w, http.StatusNotFound, "no handler for route")
		return
	}
	if data, ok := answer["data"]; !ok || data != nil {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// encrypt returns nil when it has answered.
func (d *transitDouble) encrypt(w http.ResponseWriter, body map[string]string) any {
	text, err1 := base64.StdEncoding.DecodeString(body["plaintext"])
	aad, err2 := base64.StdEncoding.DecodeString(body["associated_data"])
	if err1 != nil || err2 != nil {
		refuse(w, http.StatusBadRequest, "failed to base64-decode")
		return nil
	}
	nonce := make([]byte, 12)
	rand.Read(nonce)
	version := len(d.keys)
	blob := d.keys[version-1].Seal(nonce, nonce, text, aad)
	return map[string]any{"ciphertext": fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(blob)), "key_version": version}
}

func (d *transitDouble) decrypt(w http.ResponseWriter, body map[string]string) any {
	var version int
	var text string
	_, err := fmt.Sscanf(body["ciphertext"], "vault:v%d:%s", &version, &text)
	blob, err1 := base64.StdEncoding.DecodeString(text)
	aad, err2 := base64.StdEncoding.DecodeString(body["associated_data"])
	if err != nil || err1 != nil || err2 != nil || version < 1 || version > len(d.keys) || len(blob) < 12 {
		refuse(w, http.StatusBadRequest, "invalid ciphertext")
		return nil
	}
	open, err := d.keys[version-1].Open(nil, blob[:12], blob[12:], aad)
	if err != nil {
		refuse(w, http.StatusBadRequest, "cipher: message authentication failed")
		return nil
	}
	return map[string]any{"plaintext": base64.StdEncoding.EncodeToString(open)}
}

// secretFile writes a file that only its owner can read.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// options are those of a wrapping key at the double.
func (d *transitDouble) options(more map[string]string) custody.Setting {
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.server.Certificate().Raw})
	options := map[string]string{"address": d.server.URL, "key": "tally", "ca_file": secretFile(d.t, string(roots))}
	for name, value := range more {
		options[name] = value
	}
	return custody.Setting{Kind: custody.KindTransit, Options: options, Getenv: os.Getenv}
}

func TestTransitOnAProtocolDouble(t *testing.T) {
	d := newTransitDouble(t)
	s := d.options(map[string]string{"token_file": secretFile(t, d.token+"\n")})
	wraps(t, setting(t, s))
	again := func([]store.WrappingKey) custody.Wrapper { return setting(t, s) }
	keeps(t, again, func(known []store.WrappingKey) custody.Wrapper {
		d.rotate() // what is under an older version of the key stays readable
		return again(known)
	})
	other := newTransitDouble(t)
	db, _ := sqliteStore(t)
	if _, err := openCustody(t, custody.Config{DB: db, Wrapper: setting(t, s)}).Put(t.Context(), owner, []byte("x")); err != nil {
		t.Fatal(err)
	}
	elsewhere := setting(t, other.options(map[string]string{"token_file": secretFile(t, other.token)}))
	if _, err := custody.Open(t.Context(), custody.Config{DB: db, Wrapper: elsewhere, Now: now}); !errors.Is(err, custody.ErrWrongKey) {
		t.Error(err)
	}
}

func TestTransitByAppRoleOnAProtocolDouble(t *testing.T) {
	d := newTransitDouble(t)
	w := setting(t, d.options(map[string]string{"role_id": "a-role", "secret_id_file": secretFile(t, "a-secret-id")}))
	wraps(t, w)
	d.with(func() { d.token = "s." + rand.Text() }) // the lease has ended
	wraps(t, w)
	if d.logins != 2 {
		t.Errorf("%d logins", d.logins)
	}
}

// What a server that is away, sealed or hostile answers is ErrUnavailable, and
// nothing of it is repeated.
func TestTransitOutOfReachOnAProtocolDouble(t *testing.T) {
	d := newTransitDouble(t)
	token := secretFile(t, d.token)
	w := setting(t, d.options(map[string]string{"token_file": token}))
	wrapped, err := w.Wrap(t.Context(), make([]byte, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	away := func(what string) {
		t.Helper()
		_, err := w.Unwrap(t.Context(), wrapped, nil)
		_, err2 := w.Wrap(t.Context(), make([]byte, 32), nil)
		if !errors.Is(err, tallystick.ErrUnavailable) || !errors.Is(err2, tallystick.ErrUnavailable) || strings.Contains(err.Error(), d.token) {
			t.Errorf("%s: %v, %v", what, err, err2)
		}
	}
	for _, status := range []int{http.StatusFound, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		d.with(func() { d.broken = status })
		away(fmt.Sprint(status))
	}
	d.with(func() { d.broken = 0 })
	for _, text := range []string{"<html>", "{", `{"data":{"ciphertext":"vault:v1:!"}}`, strings.Repeat("x", 1<<20)} {
		d.with(func() { d.garbage = text })
		if _, err := w.Wrap(t.Context(), make([]byte, 32), nil); !errors.Is(err, tallystick.ErrUnavailable) {
			t.Errorf("%.40s: %v", text, err)
		}
	}
	d.with(func() { d.garbage = "" })
	if err := os.Chmod(token, 0o604); err != nil {
		t.Fatal(err)
	}
	away("a token that everybody can read")
	if err := os.Chmod(token, 0o640); err != nil {
		t.Fatal(err)
	}
	wraps(t, w) // as an agent writes it
	d.server.Close()
	away("nobody there")
}

// A server whose certificate is of another CA gets no token.
func TestTransitChecksTheServerOnAProtocolDouble(t *testing.T) {
	d := newTransitDouble(t)
	s := d.options(map[string]string{"token_file": secretFile(t, d.token)})
	delete(s.Options, "ca_file")
	if _, err := setting(t, s).Wrap(t.Context(), make([]byte, 32), nil); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Error(err)
	}
}
