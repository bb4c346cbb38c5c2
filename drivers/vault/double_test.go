// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/lab"
)

// A double is NOT an OpenBao or a Vault. It is a protocol double, written to the
// published API documentation of the PKI secrets engine (sign, revoke, read
// certificate), of AppRole (login) and of tokens (revoke-self), because neither
// server can be had as a package or be built from the module proxy. It answers as
// the documentation says; what a real server does beyond that is not tested here,
// and docs/issuers.md says so. It knows the mount team/pki in the namespace ops,
// and the role web, which allows names under lab.test and addresses.
type double struct {
	t   *testing.T
	pki *lab.PKI
	url string

	mu     sync.Mutex
	made   map[string]*entry // by serial; guarded by mu
	tokens map[string]bool   // that are good; guarded by mu
	sealed bool              // guarded by mu
}

type entry struct {
	certificate []byte
	revoked     int64
}

// What the double takes.
const (
	goodToken = "hvs.a-token-of-the-tests"
	roleID    = "1b2c3d4e-role"
	secretID  = "5f6a7b8c-secret-of-the-tests"
)

func newDouble(t *testing.T) *double {
	t.Helper()
	d := &double{t: t, pki: lab.NewPKI(t), made: map[string]*entry{}, tokens: map[string]bool{goodToken: true}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/auth/approle/login", d.login)
	mux.HandleFunc("POST /v1/auth/token/revoke-self", d.signedIn(d.revokeSelf))
	mux.HandleFunc("POST /v1/team/pki/sign/{role}", d.signedIn(d.sign))
	mux.HandleFunc("POST /v1/team/pki/revoke", d.signedIn(d.revoke))
	mux.HandleFunc("GET /v1/team/pki/cert/{serial}", d.signedIn(d.cert))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "no handler for route") })
	server := httptest.NewUnstartedServer(mux)
	chain, key := d.pki.Server(t)
	pair, err := tls.LoadX509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

func refuse(w http.ResponseWriter, status int, says ...string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": says})
}

func (d *double) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.made)
}

func (d *double) live() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.tokens)
}

func (d *double) login(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Role   string `json:"role_id"`
		Secret string `json:"secret_id"`
	}
	json.NewDecoder(r.Body).Decode(&q)
	if q.Role != roleID || q.Secret != secretID {
		refuse(w, http.StatusBadRequest, "invalid role or secret ID")
		return
	}
	token := "hvs." + rand.Text()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tokens[token] = true
	json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{"client_token": token, "lease_duration": 1200}})
}

// signedIn lets those with a good token in the right namespace through, one at a
// time.
func (d *double) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		switch {
		case d.sealed:
			refuse(w, http.StatusServiceUnavailable, "Vault is sealed")
		case !d.tokens[r.Header.Get("X-Vault-Token")] || r.Header.Get("X-Vault-Namespace") != "ops":
			refuse(w, http.StatusForbidden, "permission denied: "+r.Header.Get("X-Vault-Token")) // as no real server does
		default:
			next(w, r)
		}
	}
}

func (d *double) revokeSelf(w http.ResponseWriter, r *http.Request) {
	delete(d.tokens, r.Header.Get("X-Vault-Token"))
	w.WriteHeader(http.StatusNoContent)
}

func (d *double) sign(w http.ResponseWriter, r *http.Request) {
	var q struct {
		CSR        string `json:"csr"`
		CommonName string `json:"common_name"`
		TTL        string `json:"ttl"`
	}
	json.NewDecoder(r.Body).Decode(&q)
	block, _ := pem.Decode([]byte(q.CSR))
	if r.PathValue("role") != "web" {
		refuse(w, http.StatusBadRequest, "unknown role: "+r.PathValue("role"))
		return
	}
	if block == nil {
		refuse(w, http.StatusBadRequest, "\"csr\" contains no data")
		return
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		refuse(w, http.StatusBadRequest, "certificate request could not be parsed")
		return
	}
	if at := slices.IndexFunc(append(csr.DNSNames, q.CommonName), func(name string) bool { return !strings.HasSuffix(name, ".lab.test") }); at >= 0 {
		refuse(w, http.StatusBadRequest, "common name not allowed by this role")
		return
	}
	ttl, err := time.ParseDuration(q.TTL)
	if err != nil {
		ttl = 24 * time.Hour
	}
	template := &x509.Certificate{Subject: csr.Subject, DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(ttl)}
	made := d.pki.Sign(d.t, template, csr.PublicKey)
	id := colons(made.SerialNumber.Bytes())
	d.made[id] = &entry{certificate: made.Raw}
	json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{
		"certificate": lab.CertificatePEM(made.Raw), "issuing_ca": lab.CertificatePEM(d.pki.Sub.Raw),
		"ca_chain":      []string{lab.CertificatePEM(d.pki.Sub.Raw), lab.CertificatePEM(d.pki.Root.Raw)},
		"serial_number": id, "expiration": made.NotAfter.Unix(),
	}})
}

// colons writes octets as the API's documentation does.
func colons(octets []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% x", octets), " ", ":")
}

func (d *double) revoke(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Serial string `json:"serial_number"`
	}
	json.NewDecoder(r.Body).Decode(&q)
	e := d.made[q.Serial]
	if e == nil {
		refuse(w, http.StatusBadRequest, "certificate with serial "+q.Serial+" not found")
		return
	}
	if e.revoked == 0 {
		e.revoked = time.Now().Unix()
	}
	json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"revocation_time": e.revoked, "state": "revoked"}})
}

func (d *double) cert(w http.ResponseWriter, r *http.Request) {
	e := d.made[r.PathValue("serial")]
	if e == nil {
		refuse(w, http.StatusNotFound)
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"certificate": lab.CertificatePEM(e.certificate), "revocation_time": e.revoked}})
}
