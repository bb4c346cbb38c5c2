// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
)

// The unified audit of mail, by the pages "Office 365 Management Activity API reference" and
// "Troubleshooting the Office 365 Management Activity API": content is put into blobs, which
// are listed by when they were made, and are in no order.

const (
	// contentKept is for how long content can be listed.
	contentKept = 7 * 24 * time.Hour
	// contentSpan is how much time one list is asked for; 24 hours is the most.
	contentSpan = 6 * time.Hour
	// contentOverlap is how much of the last list is asked for again.
	contentOverlap = time.Hour
	// contentLate is how long after its time a record is counted on: 60 to 90 minutes are
	// usual, and nothing is promised.
	contentLate = 6 * time.Hour
	// contentRequests is how many blobs are read in one round: 2,000 requests a minute are
	// for a whole tenant.
	contentRequests = 60
	// contentPages bounds a list, so that one which leads round in a circle is left.
	contentPages = 1000
	// contentEvery is how often lists are asked for, at most.
	contentEvery = time.Minute
	// contentsKnown is how many blobs of one list are remembered as read.
	contentsKnown = 4000
)

const (
	mailContent  = "Audit.Exchange"
	alreadyThere = "AF20024" // the subscription is already enabled
	notEnabled   = "AF20022" // no subscription was found for the content type
)

// contents is how far the blobs of one type are read.
type contents struct {
	standing
	Subscribed bool      `json:"subscribed,omitempty"`
	To         time.Time `json:"to,omitzero"`    // up to when all blobs were read that were listed
	End        time.Time `json:"end,omitzero"`   // of the list that is being read
	Read       []string  `json:"read,omitempty"` // what was read of the last list and of this one
}

// closed returns up to when nothing more will come.
func (p *contents) closed() time.Time {
	if p.To.IsZero() {
		return time.Time{}
	}
	return p.To.Add(-contentLate)
}

// A blob is what a list says of content.
type blob struct {
	ID  string `json:"contentId"`
	URI string `json:"contentUri"`
}

// key names a blob in few bytes.
func (b blob) key() string {
	sum := sha256.Sum256([]byte(b.ID))
	return base64.RawURLEncoding.EncodeToString(sum[:8])
}

// content reads what is due of the unified audit.
func (w *watching) content(ctx context.Context, p *contents) error {
	c := w.client.at(w.manage, w.ManageScope)
	if !p.Subscribed {
		start := c.url(w.feed("subscriptions/start"), url.Values{"contentType": {mailContent}, "PublisherIdentifier": {w.Tenant}})
		err := c.read(ctx, http.MethodPost, start, nil, nil)
		if said, ok := errors.AsType[*apiError](err); err != nil && (!ok || said.Code != alreadyThere) {
			return err
		}
		p.Subscribed = true
	}
	left := contentRequests
	for {
		now := w.now()
		from := later(p.To.Add(-contentOverlap), now.Add(-min(w.Since, contentKept-time.Hour))).UTC().Truncate(time.Second)
		if p.End.IsZero() {
			p.End = from.Add(contentSpan)
			if p.End.After(now) {
				p.End = now.UTC().Truncate(time.Second)
			}
		}
		done, err := w.contentList(ctx, c, p, from, &left)
		if said, ok := errors.AsType[*apiError](err); ok && said.Code == notEnabled {
			p.Subscribed = false
		}
		if err != nil {
			return err
		}
		if !done {
			p.Next = now
			return nil
		}
		p.To, p.End = p.End, time.Time{}
		p.Read = p.Read[max(0, len(p.Read)-contentsKnown):]
		if now.Sub(p.To) < contentOverlap {
			p.Next = now.Add(max(w.Every, contentEvery))
			return nil
		}
	}
}

// feed returns the path of a call.
func (w *watching) feed(call string) string {
	return "/api/v1.0/" + w.Tenant + "/activity/feed/" + call
}

// contentList reads the blobs of one list, as far as requests are left.
func (w *watching) contentList(ctx context.Context, c *client, p *contents, from time.Time, left *int) (done bool, err error) {
	const layout = "2006-01-02T15:04:05"
	link := c.url(w.feed("subscriptions/content"), url.Values{
		"contentType": {mailContent}, "startTime": {from.Format(layout)}, "endTime": {p.End.Format(layout)}, "PublisherIdentifier": {w.Tenant},
	})
	for pages := 0; link != nil; pages++ {
		if pages >= contentPages {
			return false, fmt.Errorf("%w: a list of %s has more than %d pages", tallystick.ErrUnavailable, network.Quote(c.base.Host), contentPages)
		}
		blobs, next, err := c.blobs(ctx, link)
		if err != nil {
			return false, err
		}
		for _, b := range blobs {
			if slices.Contains(p.Read, b.key()) {
				continue
			}
			if *left--; *left < 0 {
				return false, nil
			}
			if err := w.blob(ctx, c, p, b); err != nil {
				return false, err
			}
		}
		link = next
	}
	return true, nil
}

// blobs reads one page of a list, and where the next one is.
func (c *client) blobs(ctx context.Context, at *url.URL) ([]blob, *url.URL, error) {
	response, err := c.do(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	var list []blob
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil, nil, c.unread(ctx, err)
	}
	next := response.Header.Get("NextPageUri")
	if next == "" || next == at.String() {
		return list, nil, nil
	}
	u, err := url.Parse(next)
	if err != nil {
		return nil, nil, invalid("a list of %s goes on at what is not a URL", network.Quote(c.base.Host))
	}
	return list, u, nil
}

// blob reads one blob. One that has gone meanwhile is read: it was kept for as long as any.
func (w *watching) blob(ctx context.Context, c *client, p *contents, one blob) error {
	u, err := url.Parse(one.URI)
	if err != nil {
		return invalid("a list of %s names content at what is not a URL", network.Quote(c.base.Host))
	}
	response, err := c.do(ctx, http.MethodGet, u, nil)
	if errors.Is(err, tallystick.ErrNotFound) {
		p.Read = append(p.Read, one.key())
		return nil
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	b := &batch{watching: w, log: reportLog{name: logMail, format: "unified-audit"}, pass: &pass{}}
	failed, err := elementsOf(response.Body, b.add)
	switch {
	case failed:
		return err
	case err != nil:
		return c.unread(ctx, err)
	}
	p.Read = append(p.Read, one.key())
	return b.give()
}

// elementsOf gives on the elements of an array, one in memory at a time. It says whether it
// was each that failed.
func elementsOf(r io.Reader, each func(json.RawMessage) error) (failed bool, err error) {
	d := json.NewDecoder(r)
	if err := delim(d, '['); err != nil {
		return false, err
	}
	for d.More() {
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return false, err
		}
		if err := each(element); err != nil {
			return true, err
		}
	}
	if err := delim(d, ']'); err != nil {
		return false, fmt.Errorf("content ends too early: %w", err)
	}
	return false, nil
}
