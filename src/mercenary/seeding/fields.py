"""The fields of work: their skills, most asked for first, and what their projects are about."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Field:
    """A trade. In `titles` and `tasks`, {skill} and {thing} stand for one of the lists."""

    trade: str
    skills: tuple[str, ...]
    things: tuple[str, ...]
    titles: tuple[str, ...]
    tasks: tuple[str, ...]
    results: tuple[str, ...]


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(","))


FIELDS: Final = (
    Field(
        "front-end developer",
        _listed(
            "React, TypeScript, JavaScript, HTML, CSS, Vue.js, Next.js, Tailwind CSS, Angular,"
            " Svelte, WordPress, Shopify, Webflow, jQuery, Redux, GraphQL, Web Accessibility,"
            " Astro, Nuxt, Three.js, Storybook, Cypress, Playwright, Sass, WooCommerce"
        ),
        _listed(
            "customer portal, booking page, online shop, pricing calculator, admin dashboard,"
            " product configurator, event calendar, membership site, checkout, map view,"
            " landing page, recipe archive"
        ),
        (
            "{skill} developer for our {thing}",
            "Rebuild our {thing} in {skill}",
            "Make our {thing} accessible and fast ({skill})",
            "{skill}: finish a half-built {thing}",
            "Responsive {thing}, designs are ready, {skill} preferred",
        ),
        (
            "The {thing} has to work well on old phones and slow connections.",
            "Every screen is drawn already; we need somebody to build them with care in {skill}.",
            "The present {thing} scores 38 in Lighthouse and we would like to see 90.",
            "Keyboard and screen reader users should get through the {thing} without help.",
            "State is scattered over many components and should be brought into one place.",
            "We want the text of the {thing} in three languages, one of them right to left.",
            "Please plan for automated browser tests of the main paths.",
        ),
        (
            "a pull request for each screen, with stories",
            "the {thing} deployed on our staging server",
            "code that our two juniors can maintain",
            "a short video that walks through the components",
        ),
    ),
    Field(
        "back-end developer",
        _listed(
            "Python, PostgreSQL, Node.js, Java, PHP, REST APIs, Go, C#, Ruby on Rails, Django,"
            " Spring Boot, Laravel, FastAPI, Rust, Redis, MySQL, MongoDB, Kotlin, Elixir,"
            " RabbitMQ, Celery, gRPC, SQLAlchemy, Elasticsearch, OAuth, Stripe Integration"
        ),
        _listed(
            "order service, billing system, booking API, import pipeline, notification service,"
            " search backend, payment integration, reporting API, inventory system,"
            " user directory, document archive, webhook receiver"
        ),
        (
            "{skill} developer for a {thing}",
            "Speed up our {thing} ({skill})",
            "Move our {thing} from a monolith, {skill}",
            "{skill} expert to review and harden a {thing}",
            "Build a {thing} with {skill} and tests",
            "Bug hunt in a {thing} written in {skill}",
        ),
        (
            "The {thing} takes around forty requests a second and should take a thousand.",
            "Some queries run for seconds; we have the plans at hand and need a second opinion.",
            "Duplicate events must never lead to a second charge.",
            "The {thing} was written in a hurry, and nobody dares to touch it.",
            "Half of the endpoints lack tests, and we would like those first.",
            "Errors should be named in a way that the client's developers understand.",
            "Experience with {skill} in production counts more than certificates.",
            "The schema will grow, so migrations have to run without downtime.",
        ),
        (
            "a tested {thing} with an OpenAPI description",
            "measured figures from before and after",
            "a runbook for the people on call",
            "small commits with messages that say why",
        ),
    ),
    Field(
        "mobile developer",
        _listed(
            "Flutter, React Native, Swift, Android, iOS, Kotlin Multiplatform, SwiftUI, Dart,"
            " Jetpack Compose, Firebase, Ionic, Objective-C, Push Notifications,"
            " App Store Optimization, Bluetooth Low Energy, ARKit, Expo, Mobile Games, Unity"
        ),
        _listed(
            "fitness app, delivery app, parking app, language trainer, clinic app, banking app,"
            " field service app, museum guide, ticket scanner, habit tracker"
        ),
        (
            "{skill} developer for a {thing}",
            "Port our {thing} to {skill}",
            "Fix crashes in a {thing} ({skill})",
            "First version of a {thing}, {skill}",
            "Offline mode for our {thing}",
        ),
        (
            "The {thing} must stay usable in a basement without any reception.",
            "One in two hundred sessions ends in a crash, and we have the reports.",
            "Battery use in the background is the most frequent complaint.",
            "The review in the store was refused twice, the letters are attached.",
            "We have a working prototype in {skill} that needs a steady hand.",
            "Notifications arrive late or twice, and nobody knows why.",
        ),
        (
            "a build in TestFlight and in the internal track",
            "a {thing} that passes store review",
            "source code with a build that runs in our CI",
            "a list of what you would do next",
        ),
    ),
    Field(
        "data specialist",
        _listed(
            "SQL, Data Analysis, Machine Learning, Excel, Pandas, Power BI, Tableau, R,"
            " Web Scraping, PyTorch, Statistics, Apache Spark, dbt, Airflow, BigQuery,"
            " Snowflake, TensorFlow, Natural Language Processing, Computer Vision, Looker,"
            " Data Visualization, Forecasting, A/B Testing, Prompt Engineering, Apache Kafka"
        ),
        _listed(
            "sales forecast, churn model, monthly report, data warehouse, price comparison,"
            " customer survey, sensor archive, recommendation model, fraud check,"
            " marketing dashboard, product catalogue, support inbox"
        ),
        (
            "{skill}: {thing} for a growing company",
            "Clean up the data behind our {thing} ({skill})",
            "{skill} specialist for a {thing}",
            "Automate our {thing} with {skill}",
            "Second opinion on a {thing}",
        ),
        (
            "The figures come from four systems that disagree about what a customer is.",
            "At present somebody copies the {thing} together by hand every Monday.",
            "We have about three years of history, with gaps in the first one.",
            "Please explain the limits of the {thing} in words that management understands.",
            "Personal data has to stay in our own cloud account.",
            "It should be possible to run everything again from the raw files.",
        ),
        (
            "a {thing} that refreshes by itself every night",
            "notebooks that run from top to bottom",
            "a page on what the figures mean and what they don't",
            "tests for the transformations",
        ),
    ),
    Field(
        "cloud and security engineer",
        _listed(
            "Docker, AWS, Linux, Kubernetes, Terraform, CI/CD, Azure, Google Cloud, Ansible,"
            " Penetration Testing, Nginx, GitHub Actions, Prometheus, Grafana, Networking,"
            " Bash, GitLab, Helm, Cloudflare, OpenTelemetry, Incident Response, Active Directory,"
            " Site Reliability Engineering, VMware"
        ),
        _listed(
            "staging environment, build pipeline, cluster, backup, monitoring, mail server,"
            " office network, login system, log archive, cost report, disaster recovery plan"
        ),
        (
            "{skill} engineer for our {thing}",
            "Set up a {thing} with {skill}",
            "Review of our {thing} ({skill})",
            "{skill}: cut the cost of our {thing} by half",
            "Move our {thing} to {skill}",
        ),
        (
            "A build takes 25 minutes now, and most of that is waiting.",
            "Nobody has tried to restore the {thing} in the last two years.",
            "Alerts come at night for things that can wait until morning.",
            "Everything was clicked together by hand and should be described in code.",
            "The last audit found eleven issues, three of them serious.",
            "We run on two providers and would like to know what leaving one would take.",
        ),
        (
            "infrastructure as code in our repository",
            "a written rehearsal of a restore",
            "a {thing} with alerts that mean something",
            "a handover of two hours by video",
        ),
    ),
    Field(
        "designer",
        _listed(
            "Figma, UI Design, Logo Design, UX Design, Adobe Photoshop, Adobe Illustrator,"
            " Branding, Illustration, User Research, Prototyping, Design Systems, InDesign,"
            " Packaging Design, Print Design, Blender, Typography, Icon Design, 3D Modeling,"
            " Motion Design, Infographics, Presentation Design, AutoCAD, SketchUp,"
            " Wireframing, Character Design"
        ),
        _listed(
            "brand identity, mobile app, annual report, coffee packaging, children's book,"
            " onboarding flow, trade fair stand, icon set, restaurant menu, pitch deck,"
            " poster series, design system"
        ),
        (
            "{skill} for a {thing}",
            "Designer wanted: {thing} ({skill})",
            "Fresh look for our {thing}, {skill}",
            "{skill}: from sketch to finished {thing}",
            "Long-term {skill} partner, starting with a {thing}",
        ),
        (
            "The present {thing} was made by a friend and has served us for nine years.",
            "We like calm colours, good type and room to breathe.",
            "Please show us two directions before you work one of them out.",
            "It must print well in one colour, too.",
            "We tested the first draft with six people, and the notes are attached.",
            "The {thing} should fit with the guidelines of our parent company.",
        ),
        (
            "open source files with named layers",
            "a {thing} in all the formats that the printer asks for",
            "a page of rules so that others can go on with it",
            "two rounds of changes",
        ),
    ),
    Field(
        "writer",
        _listed(
            "Copywriting, Content Writing, Proofreading, Translation, Technical Writing,"
            " Editing, Blog Writing, SEO Writing, Ghostwriting, Grant Writing, UX Writing,"
            " Scriptwriting, German Translation, Spanish Translation, French Translation,"
            " Japanese Translation, Transcription, Press Releases, Academic Editing,"
            " Newsletter Writing, Localization, Speechwriting, Resume Writing,"
            " Product Descriptions, Creative Writing"
        ),
        _listed(
            "user manual, blog series, company history, newsletter, product catalogue, website,"
            " white paper, funding application, podcast script, help centre, novel,"
            " training course"
        ),
        (
            "{skill} for a {thing}",
            "{skill}: {thing} of about 40 pages",
            "Clear words for our {thing} ({skill})",
            "Native speaker for {skill}, {thing}",
            "Regular {skill}, a {thing} to begin with",
        ),
        (
            "Our readers know the trade and notice at once when somebody doesn't.",
            "The tone should be friendly and plain, without exclamation marks.",
            "Facts will be checked by our engineers within two days.",
            "A first draft of the {thing} exists, but it reads like a tax form.",
            "Sources must be named so that we can follow them.",
            "Please write yourself; we can tell when a machine did.",
        ),
        (
            "a {thing} ready to be published",
            "a list of terms that we can reuse",
            "one round of corrections after our review",
            "the text in Markdown or Word",
        ),
    ),
    Field(
        "marketing and media specialist",
        _listed(
            "SEO, Social Media Marketing, Google Ads, Video Editing, Email Marketing,"
            " Content Strategy, Google Analytics, Facebook Ads, Market Research, Voice Over,"
            " Podcast Editing, Adobe Premiere Pro, After Effects, Photography, Lead Generation,"
            " Public Relations, Sound Design, Animation, LinkedIn Marketing, Copy Testing,"
            " Marketing Automation, HubSpot, Music Composition, Color Grading"
        ),
        _listed(
            "product launch, video channel, podcast, newsletter, search campaign, trade fair,"
            " crowdfunding campaign, image film, online course, local shop, webinar series"
        ),
        (
            "{skill} for our {thing}",
            "{skill} expert: {thing} in spring",
            "Get our {thing} off the ground ({skill})",
            "{skill}, monthly, for a {thing}",
            "Audit of a {thing} ({skill})",
        ),
        (
            "Last year's {thing} reached many people, and hardly any of them stayed.",
            "There is a modest budget for ads, and every cent must be accounted for.",
            "Raw material of about six hours is on our drive.",
            "We don't buy addresses and don't write to people who haven't asked for it.",
            "Please tell us honestly when something isn't worth doing.",
            "The {thing} should sound like us and not like everybody else.",
        ),
        (
            "a plan for three months with figures to aim at",
            "a {thing} that we can continue without you",
            "a report that fits on one page",
            "all accounts and files in our name",
        ),
    ),
)
SKILLS: Final = tuple(skill for field in FIELDS for skill in field.skills)
