// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

// batch answers up to twenty calls in one (JSON batching). Each is limited, permitted and
// noted by itself, under the operation id of the whole.
func (g *graphRequest) batch() (reply, *graphError) {
	var body struct {
		Requests []struct {
			ID, Method, URL string
			Headers         map[string]string
			Body            json.RawMessage
		}
	}
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	if len(body.Requests) == 0 || len(body.Requests) > 20 || g.batched {
		return reply{}, &graphError{http.StatusBadRequest, "BadRequest", "A batch has one to twenty requests."}
	}
	j := &jsonWriter{}
	j.open()
	j.name("responses")
	j.openList()
	for _, one := range body.Requests {
		u, err := url.Parse(one.URL)
		if err != nil {
			return reply{}, &graphError{http.StatusBadRequest, "BadRequest", "Invalid batch payload format."}
		}
		sub := *g
		sub.id, sub.method, sub.body, sub.out, sub.batched = g.world.guid(), one.Method, one.Body, http.Header{}, true
		sub.query, sub.uri = parseQuery(u.RawQuery), "https://"+g.r.Host+"/"+g.version+u.RequestURI()
		sub.client = sub.id.String()
		for name, value := range one.Headers {
			if http.CanonicalHeaderKey(name) == "Client-Request-Id" {
				sub.client = value
			}
		}
		sub.setPath("/"+g.version+"/"+u.Path[min(1, len(u.Path)):], "https://"+g.r.Host)
		answer := sub.dispatch()
		sub.note(answer)
		renderPart(j, one.ID, answer, sub.out)
	}
	j.closeList()
	j.close()
	return reply{http.StatusOK, j.b}, nil
}

func renderPart(j *jsonWriter, id string, answer reply, header http.Header) {
	j.open()
	j.text("id", id)
	j.raw("status", strconv.Itoa(answer.status))
	j.name("headers")
	j.open()
	for name := range header {
		j.text(name, header.Get(name))
	}
	if len(answer.body) > 0 {
		j.text("Content-Type", "application/json")
	}
	j.close()
	if len(answer.body) > 0 {
		j.raw("body", string(answer.body))
	}
	j.close()
}
