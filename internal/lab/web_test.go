// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/lab"
)

// ask says what a server of HTTPS answers to a client.
func ask(t *testing.T, address string, client driver.Material) int {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the server is our own
	if client.Key != nil {
		transport.TLSClientConfig.Certificates = []tls.Certificate{{Certificate: client.Chain, PrivateKey: client.Key}}
	}
	answer, err := (&http.Client{Transport: transport}).Get("https://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode
}

func TestNginxAndHAProxyLetInWhoShowsACertificate(t *testing.T) {
	pki := lab.NewPKI(t)
	n := lab.StartNginx(t, lab.NginxSettings{PKI: pki, Clients: true, Cache: true, Listeners: []lab.NginxListener{{}, {Own: true}}})
	h := lab.StartHAProxy(t, lab.HAProxySettings{PKI: pki, Clients: true, Listeners: []lab.HAProxyListener{{}, {Own: true}}})
	alice := pki.Client(t, "alice")
	stranger := lab.NewPKI(t).Client(t, "alice")
	for _, address := range append(n.Addresses, h.Addresses...) {
		if got := ask(t, address, alice); got != http.StatusOK {
			t.Errorf("%s: a client with a certificate gets %d", address, got)
		}
		if got := ask(t, address, driver.Material{}); got != http.StatusForbidden {
			t.Errorf("%s: a client without a certificate gets %d", address, got)
		}
		if got := ask(t, address, stranger); got == http.StatusOK {
			t.Errorf("%s: a client of another CA gets %d", address, got)
		}
	}
}
