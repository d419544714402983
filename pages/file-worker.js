// A page that is opened from a file may start no Worker: a hidden frame does its work.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #waiting = [];

    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      this.frame.addEventListener("load", () => this.#start(new URL(url, location)), { once: true });
      document.body.append(this.frame);
    }

    postMessage(data) {
      if (this.#waiting) this.#waiting.push(data);
      else this.#give(data);
    }

    terminate() {
      this.frame.remove();
    }

    #give(data) {
      const inner = this.frame.contentWindow;
      inner.dispatchEvent(new inner.MessageEvent("message", { data }));
    }

    #start(url) {
      const inner = this.frame.contentWindow;
      const answer = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        this.onmessage?.(event);
      };
      inner.postMessage = (data) => setTimeout(answer, 0, data);
      inner.importScripts = () => {
        throw new Error("a frame imports no scripts");
      };
      const script = inner.document.createElement("script");
      script.src = url.href;
      script.addEventListener("load", () => {
        const waiting = this.#waiting;
        this.#waiting = null;
        for (const data of waiting) this.#give(data);
      });
      inner.document.head.append(script);
    }
  };
}
