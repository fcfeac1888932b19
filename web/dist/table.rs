const ASSETS: &[Asset] = &[
    Asset {
        path: "/assets/index-DYMchfdp.js",
        media_type: "text/javascript; charset=utf-8",
        etag: "\"63c8921f8145b009104b0496ce52d55e\"",
        identity: include_bytes!("assets/index-DYMchfdp.js"),
        brotli: include_bytes!("assets/index-DYMchfdp.js.br"),
        gzip: include_bytes!("assets/index-DYMchfdp.js.gz"),
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
        etag: "\"865e5f57d9384a393d598cbda0aaf4e5\"",
        identity: include_bytes!("index.html"),
        brotli: include_bytes!("index.html.br"),
        gzip: include_bytes!("index.html.gz"),
    },
];
