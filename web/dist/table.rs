const ASSETS: &[Asset] = &[
    Asset {
        path: "/assets/index-DB9DaJr_.js",
        media_type: "text/javascript; charset=utf-8",
        etag: "\"4392169f74a00a2f68d4572d6d795ce4\"",
        identity: include_bytes!("assets/index-DB9DaJr_.js"),
        brotli: include_bytes!("assets/index-DB9DaJr_.js.br"),
        gzip: include_bytes!("assets/index-DB9DaJr_.js.gz"),
    },
    Asset {
        path: "/assets/mark-BBqwChrl.svg",
        media_type: "image/svg+xml",
        etag: "\"57f216bedf9ca956ee4cfcb3390c9609\"",
        identity: include_bytes!("assets/mark-BBqwChrl.svg"),
        brotli: include_bytes!("assets/mark-BBqwChrl.svg.br"),
        gzip: include_bytes!("assets/mark-BBqwChrl.svg.gz"),
    },
    Asset {
        path: "/assets/style-DV5Lqy7l.css",
        media_type: "text/css; charset=utf-8",
        etag: "\"98c0cf9bf087103796050806a9f51948\"",
        identity: include_bytes!("assets/style-DV5Lqy7l.css"),
        brotli: include_bytes!("assets/style-DV5Lqy7l.css.br"),
        gzip: include_bytes!("assets/style-DV5Lqy7l.css.gz"),
    },
    Asset {
        path: "/index.html",
        media_type: "text/html; charset=utf-8",
        etag: "\"b9d7cfa4db0d21915d7a56a6fabcf700\"",
        identity: include_bytes!("index.html"),
        brotli: include_bytes!("index.html.br"),
        gzip: include_bytes!("index.html.gz"),
    },
];
