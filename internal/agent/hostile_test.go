// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/agent"
)

// post sends a body with a client certificate, and returns the status and the answer.
func (h *house) post(t *testing.T, word, body string, certificate *tls.Certificate) (int, string) {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "x"}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	response, err := client.Post("https://"+h.address+agent.Root+word, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// forged is a certificate that nobody here has signed.
func forged(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := newMachine(t, h, h.token(t, "web1"))
	m.start(t)
	eventually(t, "it is there", func() bool { return len(m.lines()) > 1 })
	own, err := h.Authority.Certificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	for name, certificate := range map[string]*tls.Certificate{"none": nil, "forged": forged(t, "web1"), "of the server": own} {
		for _, word := range []string{"renew", "hello", "view", "claim", "extend", "done", "over"} {
			if status, text := h.post(t, word, "{}", certificate); status != http.StatusUnauthorized || !strings.Contains(text, `"kind":"unsigned"`) {
				t.Errorf("%s with the certificate %s: %d, %s", word, name, status, text)
			}
		}
	}
	for _, word := range []string{"", "enrol/", "x", "../v1/claim"} {
		if status, _ := h.post(t, word, "{}", nil); status == http.StatusOK {
			t.Errorf("%q is answered", word)
		}
	}
}

// Messages are what they should be, or nothing.
func TestMessagesAreStrict(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for body, want := range map[string]string{
		``: "not as it should be", `{`: "not as it should be", `[]`: "not as it should be", `{"secret":1}`: "not as it should be",
		`{"secret":"x","csr":""}{}`: "something behind it", `{"secret":"x","more":1}`: "unknown field", `{"secret":"x","csr":"AAAA"}`: "certificate request cannot be used",
		`{"secret":"` + strings.Repeat("x", 5<<20) + `"}`: "more than 4194304 bytes",
	} {
		if status, text := h.post(t, "enrol", body, nil); status != http.StatusBadRequest || !strings.Contains(text, want) {
			t.Errorf("%.40q: %d, %.200s", body, status, text)
		}
	}
	plain := httptest.NewRecorder()
	h.Server.ServeHTTP(plain, httptest.NewRequest(http.MethodPost, agent.Root+"enrol", strings.NewReader("{}")))
	if plain.Code != http.StatusBadRequest {
		t.Errorf("without TLS: %d", plain.Code)
	}
}

func FuzzToken(f *testing.F) {
	for _, seed := range []string{"", "tallyagent_", "tallyagent_e30", "tallyagent_bnVsbA", "tally_x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if err := agent.ParseToken(text); err != nil && len(text) > 12 && strings.Contains(err.Error(), text) {
			t.Errorf("the error quotes it: %v", err)
		}
	})
}

// Whatever somebody without a certificate sends is refused, and costs little.
func FuzzEnrol(f *testing.F) {
	for _, seed := range []string{"{}", `{"secret":"a","csr":"MIIB"}`, `{"csr":null}`, "\x00", `{"secret":"\ud800"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := &agent.Server{Agents: &agent.Agents{}}
		request := httptest.NewRequest(http.MethodPost, agent.Root+"enrol", bytes.NewReader(body))
		request.TLS = &tls.ConnectionState{}
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, request)
		if answer.Code != http.StatusBadRequest {
			t.Errorf("%d: %s", answer.Code, answer.Body)
		}
	})
}
