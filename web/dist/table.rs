const ASSETS: &[Asset] = &[
    Asset {
        path: "/assets/index-CkwMniZs.js",
        media_type: "text/javascript; charset=utf-8",
        etag: "\"4498ee89b1e48fea3bedf1e951cb9958\"",
        identity: include_bytes!("assets/index-CkwMniZs.js"),
        brotli: include_bytes!("assets/index-CkwMniZs.js.br"),
        gzip: include_bytes!("assets/index-CkwMniZs.js.gz"),
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
        path: "/assets/style-CBLHIXzZ.css",
        media_type: "text/css; charset=utf-8",
        etag: "\"f83e6a841164bbfbc98f82f49c843e9d\"",
        identity: include_bytes!("assets/style-CBLHIXzZ.css"),
        brotli: include_bytes!("assets/style-CBLHIXzZ.css.br"),
        gzip: include_bytes!("assets/style-CBLHIXzZ.css.gz"),
    },
    Asset {
        path: "/index.html",
        media_type: "text/html; charset=utf-8",
        etag: "\"23ad811487276e803332a1dcfa7c1202\"",
        identity: include_bytes!("index.html"),
        brotli: include_bytes!("index.html.br"),
        gzip: include_bytes!("index.html.gz"),
    },
];
