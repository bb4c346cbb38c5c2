// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// A Load is clients of HTTPS that ask for / all the time: at each address one that keeps
// its connection, as browsers do (net/http asks once more where the server closes a
// connection that is idle), and one that resumes its session for each request.
type Load struct {
	stop   chan struct{}
	group  sync.WaitGroup
	mu     sync.Mutex
	asked  int      // guarded by mu
	failed []string // guarded by mu
}

// StartLoad starts one as client, which trusts the root of a PKI alone.
func StartLoad(t TB, p *PKI, addresses []string, client driver.Material) *Load {
	t.Helper()
	l := &Load{stop: make(chan struct{})}
	for _, address := range addresses {
		for _, keep := range []bool{true, false} {
			l.group.Go(func() { l.ask(address, l.client(p, client, keep)) })
		}
	}
	t.Cleanup(func() { l.Stop() })
	return l
}

func (l *Load) client(p *PKI, client driver.Material, keep bool) *http.Client {
	config := p.ClientConfig(client)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: !keep, TLSClientConfig: config}}
}

// ask goes on until Stop, with 5 ms between two requests.
func (l *Load) ask(address string, client *http.Client) {
	defer client.CloseIdleConnections()
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		answer, err := client.Get("https://" + address + "/")
		if err == nil {
			if _, err = io.Copy(io.Discard, answer.Body); err == nil && answer.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s answers %s", address, answer.Status)
			}
			answer.Body.Close()
		}
		l.mu.Lock()
		l.asked++
		if err != nil {
			l.failed = append(l.failed, err.Error())
		}
		l.mu.Unlock()
	}
}

// Asked says how many requests there were so far.
func (l *Load) Asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// Stop ends it, and says how many requests there were and what was wrong with those
// that failed. A second call says the same.
func (l *Load) Stop() (asked int, failed []string) {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.mu.Unlock()
	l.group.Wait()
	return l.asked, l.failed
}
